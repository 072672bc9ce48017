//! State on a Redis or Valkey server, a Sentinel group or a Cluster.

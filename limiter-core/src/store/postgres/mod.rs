//! State on a Postgres server.

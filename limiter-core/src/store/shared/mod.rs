//! State in a file of this host, mapped by the processes that share it.

//! State in an SQLite file.

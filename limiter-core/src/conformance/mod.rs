//! The contract of stores as named cases that any store can run.

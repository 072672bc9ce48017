//! The programs beside this file are the examples; see each folder's `main.rs`.

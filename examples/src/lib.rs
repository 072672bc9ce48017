//! The programs beside this file are the examples; see each folder's `main.rs`.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

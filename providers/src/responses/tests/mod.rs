//! Pairs of files.

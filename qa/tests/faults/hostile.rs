//! Clients that nobody invited.

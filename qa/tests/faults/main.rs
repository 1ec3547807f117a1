//! What others do wrong, on both sides of the gateway: providers that fail in every way we know, and clients that nobody invited.

mod hostile;
mod rows;
mod storm;
mod table;

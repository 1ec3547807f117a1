//! What others do wrong, on both sides of the gateway: providers that fail in every way we know, and clients that nobody invited.

mod clock;
mod floods;
mod framing;
mod rows;
mod siege;
mod soak;
mod storm;
mod table;

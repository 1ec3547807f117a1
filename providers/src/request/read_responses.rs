//! Reads a body of OpenAI responses into its view.

use super::BadRequest;
use super::read::{Read, Reader};

impl Reader<'_> {
    pub(super) fn responses(&mut self) -> Read<()> {
        Err(BadRequest { code: "invalid_value", param: None, message: "This kind of body is not read yet.".to_owned() })
    }
}

//! Reads a body of Gemini's generateContent into its view.

use super::read::{Read, Reader};
use super::{BadRequest, Outside};

impl Reader<'_> {
    pub(super) fn gemini(&mut self, _outside: &Outside) -> Read<()> {
        Err(BadRequest { code: "invalid_value", param: None, message: "This kind of body is not read yet.".to_owned() })
    }
}

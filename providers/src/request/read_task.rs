//! Reads a body of one-shot tasks into its view.

use super::read::{Read, Reader};
use super::{BadRequest, Outside, Shape};

impl Reader<'_> {
    pub(super) fn task(&mut self, _task: Shape, _outside: &Outside) -> Read<()> {
        Err(BadRequest { code: "invalid_value", param: None, message: "This kind of body is not read yet.".to_owned() })
    }
}

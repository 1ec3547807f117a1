//! Writes events, each with the next number.

use std::borrow::Cow;

use bytes::Bytes;

/// One stream's hand.
#[derive(Default)]
pub(super) struct Pen {
    out: String,
    next: u64,
    silent: bool,
}

impl Pen {
    /// Goes on where another stopped.
    pub(super) fn starting_at(next: u64) -> Pen {
        Pen { next, ..Pen::default() }
    }

    /// For an answer that is told whole: writes nothing.
    pub(super) fn silent() -> Pen {
        Pen { silent: true, ..Pen::default() }
    }

    /// One event; `inside` are the members of its data beside type and number.
    pub(super) fn event(&mut self, kind: &str, inside: &str) {
        if self.silent {
            return;
        }
        // What a client or a server wrote over several lines is one here; in strings JSON has no bare line breaks.
        let inside: Cow<'_, str> = match inside.contains(['\n', '\r']) {
            true => inside.replace(['\n', '\r'], " ").into(),
            false => inside.into(),
        };
        let number = self.next.to_string();
        self.next += 1;
        self.out.reserve(2 * kind.len() + inside.len() + number.len() + 64);
        for piece in
            ["event: ", kind, "\ndata: {\"type\":\"", kind, "\",\"sequence_number\":", &number, ",", &inside, "}\n\n"]
        {
            self.out.push_str(piece);
        }
    }

    /// Nobody listens, so nothing need be made for it.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The number of the next event.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What was written since the last time.
    pub(super) fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.out))
    }
}

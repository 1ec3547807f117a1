//! Puts a stream together for a caller of Responses who wants JSON. Which words the server speaks, the first event tells.

use super::passage::speaks_responses;
use super::track::Track;
use crate::gather::Assembly;
use crate::sse::SseEvent;

pub(super) struct EitherAssembly {
    own: Option<bool>,
    track: Track,
    chat: Box<dyn Assembly>,
}

impl EitherAssembly {
    pub(super) fn new(chat: Box<dyn Assembly>) -> EitherAssembly {
        EitherAssembly { own: None, track: Track::default(), chat }
    }
}

impl Assembly for EitherAssembly {
    fn event(&mut self, event: &SseEvent) {
        match *self.own.get_or_insert_with(|| speaks_responses(event)) {
            true => self.track.event(event),
            false => self.chat.event(event),
        }
    }

    fn body(&mut self, cut: bool, strict: bool) -> String {
        match self.own {
            Some(true) => self.track.body(cut),
            _ => self.chat.body(cut, strict),
        }
    }
}

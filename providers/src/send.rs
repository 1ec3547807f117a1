//! The one outbound client.

use std::sync::Arc;
use std::time::Duration;

use crate::chat::{ChatEvent, ChatRequest};
use crate::error::ProviderError;
use crate::fleet::Target;

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// From sending to the answer's head.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines { connect: Duration::from_secs(5), first_byte: Duration::from_secs(60), idle: Duration::from_secs(60) }
    }
}

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    #[allow(dead_code)]
    deadlines: Deadlines,
}

/// An answer that has begun well (2xx). Dropping it cancels upstream.
pub struct Answer {
    status: u16,
}

impl Outbound {
    /// A client with a connection pool.
    pub fn new(deadlines: Deadlines) -> Outbound {
        Outbound { deadlines }
    }

    /// Sends, and waits for the answer's head.
    pub async fn send(&self, target: &Arc<Target>, request: &ChatRequest, cap: u64) -> Result<Answer, ProviderError> {
        let _ = (target, request, cap);
        Err(ProviderError::broken("not yet"))
    }
}

impl Answer {
    /// 200, mostly.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The next event; none after [`ChatEvent::End`] or an error.
    pub async fn next(&mut self) -> Option<Result<ChatEvent, ProviderError>> {
        None
    }
}

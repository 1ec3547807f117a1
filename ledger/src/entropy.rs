//! Randomness, handed in. The system's is read here and nowhere else.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// Where random bytes come from: the system, or a seed.
#[derive(Clone)]
pub struct Entropy(Source);

#[derive(Clone)]
enum Source {
    System,
    Seeded { seed: u64, drawn: Arc<AtomicU64> },
}

impl Entropy {
    /// The machine's own randomness.
    pub const fn system() -> Entropy {
        Entropy(Source::System)
    }

    /// The same bytes in the same order for the same seed. For tests and simulation only.
    pub fn seeded(seed: u64) -> Entropy {
        Entropy(Source::Seeded { seed, drawn: Arc::new(AtomicU64::new(0)) })
    }

    /// Fresh random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            Source::System => draw(&mut bytes),
            Source::Seeded { seed, drawn } => {
                for chunk in bytes.chunks_mut(32) {
                    let turn = drawn.fetch_add(1, Ordering::SeqCst);
                    let digest =
                        Sha256::new().chain_update(seed.to_le_bytes()).chain_update(turn.to_le_bytes()).finalize();
                    chunk.copy_from_slice(&digest[..chunk.len()]);
                }
            }
        }
        bytes
    }
}

/// Asking the system for ten bytes costs as much as asking for a page of them, so each thread keeps some. What is handed
/// out is wiped from the store at once.
struct Store {
    bytes: [u8; STORE],
    left: usize,
}

const STORE: usize = 1_024;

thread_local! {
    static KEPT: RefCell<Store> = const { RefCell::new(Store { bytes: [0; STORE], left: 0 }) };
}

fn draw(out: &mut [u8]) {
    if out.len() > STORE / 4 {
        return fill(out);
    }
    KEPT.with_borrow_mut(|store| {
        if store.left < out.len() {
            fill(&mut store.bytes);
            store.left = STORE;
        }
        let from = store.left - out.len();
        let taken = &mut store.bytes[from..store.left];
        out.copy_from_slice(taken);
        taken.zeroize();
        store.left = from;
    });
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's randomness")]
fn fill(out: &mut [u8]) {
    getrandom::fill(out).expect("the system gives randomness once it has booted");
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A seed foretells every key made from it.
        f.write_str(match self.0 {
            Source::System => "Entropy(system)",
            Source::Seeded { .. } => "Entropy(seeded)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_again_and_the_system_does_not() {
        let (one, two) = (Entropy::seeded(7), Entropy::seeded(7));
        let first: [u8; 40] = one.bytes();
        assert_eq!(first, two.bytes());
        assert_ne!(first, one.bytes());
        assert_ne!(Entropy::system().bytes::<32>(), Entropy::system().bytes::<32>());
    }
}

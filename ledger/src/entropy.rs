//! Randomness, handed in. The system's is read here and nowhere else.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

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
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's randomness")]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            Source::System => getrandom::fill(&mut bytes).expect("the system gives randomness once it has booted"),
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

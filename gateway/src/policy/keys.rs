//! Whose signatures on bundles are believed, and opening a bundle by that.

use std::path::Path;

use ledger::Clock;
use policies::pack::{Algorithm, Keys};
use policies::{Fault, Pack, PackLimits};

use super::source::KeyConfig;

/// Keys, and whether a bundle must be signed with one of them.
pub struct Trusted {
    keys: Keys,
    required: bool,
    /// Signatures may have an end.
    clock: Clock,
}

/// What is wrong, and with which setting.
type Wrong = (String, String);

impl Trusted {
    /// Reads the keys. Who names any wants signatures, unless they say otherwise.
    ///
    /// # Errors
    /// Every key that cannot be used.
    pub fn read(
        configs: &[KeyConfig],
        required: Option<bool>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Trusted, Vec<Wrong>> {
        let mut keys = Keys::default();
        let mut wrong = Vec::new();
        for (i, config) in configs.iter().enumerate() {
            let text = match (&config.pem_file, &config.secret_env) {
                (Some(file), None) => text_of(file).map_err(|message| ("pem_file", message)),
                (None, Some(name)) => environment(name)
                    .filter(|it| !it.trim().is_empty())
                    .ok_or_else(|| ("secret_env", format!("the variable {name} is not set"))),
                _ => Err(("pem_file", "a key is in a pem_file, or its secret in a secret_env".to_owned())),
            };
            let read = Algorithm::named(&config.algorithm).map_err(|message| ("algorithm", message)).and_then(|it| {
                let member = if config.pem_file.is_some() { "pem_file" } else { "secret_env" };
                keys.add(&config.id, it, &text?, None).map_err(|message| (member, message))
            });
            if let Err((member, message)) = read {
                wrong.push((format!("policies.keys[{i}].{member}"), message));
            }
        }
        let required = required.unwrap_or(!configs.is_empty());
        if required && configs.is_empty() {
            wrong.push(("policies.require_signature".into(), "needs policies.keys: whose signature?".into()));
        }
        if wrong.is_empty() { Ok(Trusted { keys, required, clock: Clock::system() }) } else { Err(wrong) }
    }

    /// Whether what is not signed is refused.
    pub fn required(&self) -> bool {
        self.required
    }

    /// Reads a bundle; where signatures are wanted, only one that is signed.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn open(&self, bytes: &[u8]) -> Result<Pack, Vec<Fault>> {
        let limits = PackLimits::default();
        if !self.required {
            return Pack::read(bytes, &limits);
        }
        let seconds = self.clock.now().micros().div_euclid(1_000_000);
        self.keys.verify(bytes, &limits, seconds).map(|verified| verified.pack)
    }
}

/// A key is short; what is longer is none.
fn text_of(file: &Path) -> Result<String, String> {
    let bytes = super::source::read_bounded(file, 64 << 10)?;
    String::from_utf8(bytes).map_err(|_| "is not a key in PEM".to_owned())
}

//! `alfred policy bundle …`: rules and data as one file that OPA reads, too.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use policies::pack::{Algorithm, Keys, SigningKey, sign};
use policies::{Pack, PackLimits, PolicySet};
use serde_json::{Map, json};

use super::check::patient;
use super::{Failed, bytes, pack, write};

/// Make, sign and verify bundles.
#[derive(Subcommand)]
pub enum BundleCommand {
    /// Check a folder and write it as a bundle: same content, same bytes.
    Build {
        /// The folder: `.rego` files, `data.json` or `data.yaml` at any depth, `.manifest`.
        dir: PathBuf,
        /// The bundle to write.
        #[arg(short, long, default_value = "bundle.tar.gz")]
        output: PathBuf,
        /// Your own name for this content, kept in the manifest.
        #[arg(long)]
        revision: Option<String>,
    },
    /// Sign a bundle, in its place unless told otherwise.
    Sign {
        /// The bundle.
        bundle: PathBuf,
        #[command(flatten)]
        key: KeyArguments,
        /// How many days the signature holds; for ever unless given.
        #[arg(long)]
        days: Option<u32>,
        /// Where to write it.
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Verify that a key vouches for every file of a bundle; exit 1 where it does not.
    Verify {
        /// The bundle.
        bundle: PathBuf,
        #[command(flatten)]
        key: KeyArguments,
    },
}

/// One key.
#[derive(Args)]
pub struct KeyArguments {
    /// A file: a key in PEM (private to sign, public to verify), or a shared secret for HS256.
    #[arg(long)]
    pub key: PathBuf,
    /// The key's id, by which a reader finds it.
    #[arg(long, default_value = "default")]
    pub key_id: String,
    /// HS256, RS256, PS256, ES256 or EdDSA.
    #[arg(long, default_value = "RS256")]
    pub algorithm: String,
    /// What the key may sign for, where its readers ask.
    #[arg(long)]
    pub scope: Option<String>,
}

impl KeyArguments {
    fn read(&self) -> Result<(Algorithm, String), Failed> {
        let algorithm =
            Algorithm::named(&self.algorithm).map_err(|wrong| Failed::to_look(format!("--algorithm: {wrong}")))?;
        let text = String::from_utf8(bytes(&self.key)?).map_err(|_| self.wrong("is not text"))?;
        Ok((algorithm, text))
    }

    fn wrong(&self, why: &str) -> Failed {
        Failed::to_look(format!("{} {why}", self.key.display()))
    }
}

pub(super) fn run(command: &BundleCommand) -> Result<ExitCode, Failed> {
    let now = ledger::Clock::system().now().micros().div_euclid(1_000_000);
    println!("{}", done(command, now)?);
    Ok(ExitCode::SUCCESS)
}

/// Does it, and says what was done; `now` is in seconds since 1970.
fn done(command: &BundleCommand, now: i64) -> Result<String, Failed> {
    let limits = PackLimits::default();
    match command {
        BundleCommand::Build { dir, output, revision } => {
            // Compiled by the names on the disk, so that a fault can be opened.
            let named = pack(dir)?;
            let sources = [policies::shipped(), named.modules].concat();
            PolicySet::compile(&sources, named.data, patient())?;
            let mut made = Pack::of_dir(dir, &limits)?;
            if let Some(revision) = revision {
                made.manifest.revision.clone_from(revision);
            }
            write(output, &made.write())?;
            Ok(format!(
                "ok: {} modules, digest {}, {}",
                made.modules.len(),
                hex::encode(made.digest()),
                output.display()
            ))
        }
        BundleCommand::Sign { bundle, key, days, output } => {
            let (algorithm, text) = key.read()?;
            let signing = SigningKey::read(&key.key_id, algorithm, &text, key.scope.as_deref());
            let signing = signing.map_err(|why| key.wrong(&why))?;
            let mut claims = Map::from_iter([("iat".to_owned(), json!(now))]);
            claims.extend(days.map(|days| ("exp".to_owned(), json!(now.saturating_add(i64::from(days) * 86_400)))));
            let signed = sign(&bytes(bundle)?, &signing, &claims, &limits)?;
            let output: &Path = output.as_deref().unwrap_or(bundle);
            write(output, &signed)?;
            Ok(format!("ok: signed with {} as {}, {}", algorithm.name(), key.key_id, output.display()))
        }
        BundleCommand::Verify { bundle, key } => {
            let (algorithm, text) = key.read()?;
            let mut keys = Keys::default();
            keys.add(&key.key_id, algorithm, &text, key.scope.as_deref()).map_err(|why| key.wrong(&why))?;
            let verified = keys.verify(&bytes(bundle)?, &limits, now)?;
            let revision = match verified.pack.manifest.revision.as_str() {
                "" => String::new(),
                revision => format!(", revision {revision}"),
            };
            let modules = verified.pack.modules.len();
            Ok(format!("ok: {modules} modules{revision}, signed by {}", verified.key))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_180_814;

    #[test]
    fn a_folder_is_built_signed_and_verified() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("rules")).unwrap();
        let rule =
            "package alfred.rules.house\n\nimport rego.v1\n\nmax_output_tokens contains 100 if input.request.images\n";
        std::fs::write(path("rules/house.rego"), rule).unwrap();
        std::fs::write(path("rules/data.json"), r#"{"acme": {"cap": 1}}"#).unwrap();
        std::fs::write(path("secret"), "a secret of thirty-two bytes or more\n").unwrap();
        let done = |command: BundleCommand, at: i64| done(&command, at).map_err(|failed| failed.message);
        let build =
            || BundleCommand::Build { dir: path("rules"), output: path("house.tar.gz"), revision: Some("r7".into()) };
        let key = |algorithm: &str, key_id: &str| KeyArguments {
            key: path("secret"),
            key_id: key_id.into(),
            algorithm: algorithm.into(),
            scope: None,
        };
        let verify = |id: &str| BundleCommand::Verify { bundle: path("house.tar.gz"), key: key("HS256", id) };
        let sign = |algorithm: &str| BundleCommand::Sign {
            bundle: path("house.tar.gz"),
            key: key(algorithm, "ci"),
            days: Some(30),
            output: None,
        };

        assert!(done(build(), NOW).unwrap().starts_with("ok: 1 modules, digest "));
        let first = std::fs::read(path("house.tar.gz")).unwrap();
        done(build(), NOW + 9).unwrap();
        assert_eq!(std::fs::read(path("house.tar.gz")).unwrap(), first, "the same content is the same bytes");
        assert!(done(verify("ci"), NOW).unwrap_err().starts_with("bundle: is not signed"));
        assert!(done(sign("HS256"), NOW).unwrap().starts_with("ok: signed with HS256 as ci"));
        assert_eq!(done(verify("ci"), NOW).unwrap(), "ok: 1 modules, revision r7, signed by ci");
        assert!(done(verify("other"), NOW).unwrap_err().contains("signed with the key \"ci\", which is not known"));
        assert!(done(verify("ci"), NOW + 31 * 86_400).unwrap_err().contains("has expired"));
        assert!(done(sign("none"), NOW).unwrap_err().starts_with("--algorithm: there is no algorithm"));
        assert!(done(sign("RS256"), NOW).unwrap_err().ends_with("is not in PEM (-----BEGIN …-----)"));

        // What does not compile is not built, and what was built stays.
        std::fs::write(path("rules/house.rego"), rule.replace("max_output", "max_outptu")).unwrap();
        let refused = done(build(), NOW).unwrap_err();
        assert!(
            refused.contains("house.rego:5:1: ") && refused.contains("did you mean max_output_tokens?"),
            "{refused}"
        );
        done(verify("ci"), NOW).unwrap();
    }
}

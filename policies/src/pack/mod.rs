//! A layer's rules and data as one file: an OPA bundle (a gzipped tar of `.rego`, `data.json`, `.manifest`).
//!
//! What is read here is text and data within bounds, nothing more: whether the rules are any good is for
//! `PolicySet::compile` to say. Nothing of an archive is ever written to a disk.

mod archive;
mod canonical;
mod keys;
mod manifest;
mod sign;
mod tree;

use std::path::Path;

use sha2::{Digest, Sha256};

pub use keys::{Algorithm, Keys, SigningKey};
pub use manifest::Manifest;
pub use sign::{Verified, sign};

use crate::source::fault;
use crate::{Fault, Source};
use archive::File;

/// The name of the manifest in an archive.
const MANIFEST: &str = ".manifest";

/// Rules, data, and what they say of themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    /// The modules, tests among them, in order of path.
    pub modules: Vec<Source>,
    /// All of `data`: an object.
    pub data: serde_json::Value,
    /// The revision, and which paths the bundle may fill.
    pub manifest: Manifest,
}

/// What an archive may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// The most bytes as it comes.
    pub packed_bytes: usize,
    /// The most bytes when it is unpacked: what a bomb would exceed.
    pub unpacked_bytes: usize,
    /// The most files and folders.
    pub files: usize,
    /// The most bytes of one path.
    pub path_bytes: usize,
}

impl Default for PackLimits {
    fn default() -> PackLimits {
        PackLimits { packed_bytes: 8 << 20, unpacked_bytes: 32 << 20, files: 2_048, path_bytes: 240 }
    }
}

impl Default for Pack {
    fn default() -> Pack {
        Pack { modules: Vec::new(), data: serde_json::json!({}), manifest: Manifest::default() }
    }
}

impl Pack {
    /// Rules and data that came otherwise, as JSON or from a test.
    pub fn new(mut modules: Vec<Source>, data: serde_json::Value, manifest: Manifest) -> Pack {
        modules.sort_by(|a, b| a.path.cmp(&b.path));
        Pack { modules, data, manifest }
    }

    /// Reads an archive, or says everything that is wrong with it. Signatures are left to `Keys::verify`.
    pub fn read(bytes: &[u8], limits: &PackLimits) -> Result<Pack, Vec<Fault>> {
        Pack::of_files(archive::unpack(bytes, limits)?)
    }

    /// The archive of this content: same content, same bytes.
    pub fn write(&self) -> Vec<u8> {
        archive::zipped(&archive::joined(&self.files()))
    }

    /// What this content is known by. Not of the compressed bytes, which another version of the library writes otherwise.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(archive::joined(&self.files())).into()
    }

    /// What a folder holds, laid out as in an archive: `.rego` files, and data by the folder that it lies in.
    pub fn of_dir(dir: &Path, limits: &PackLimits) -> Result<Pack, Vec<Fault>> {
        Pack::of_files(tree::files(dir, limits)?)
    }

    /// Everything wrong with its paths, data and roots, for content that came otherwise than by `read`.
    pub fn faults(&self, limits: &PackLimits) -> Vec<Fault> {
        let mut faults: Vec<Fault> =
            self.modules.iter().filter_map(|module| archive::path_fault(&module.path, limits)).collect();
        if !self.data.is_object() {
            faults.push(fault("data", "the data must be an object"));
        }
        faults.extend(self.manifest.faults(&self.modules, &self.data));
        faults
    }

    fn of_files(files: Vec<File>) -> Result<Pack, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut pack = Pack::default();
        for File { path, bytes } in files {
            let name = path.rsplit('/').next().unwrap_or_default();
            let read = match name {
                MANIFEST if path == MANIFEST => manifest::read(&bytes).map(|it| pack.manifest = it),
                "data.json" | "data.yaml" | "data.yml" => {
                    tree::value(&bytes, name).and_then(|value| tree::insert(&mut pack.data, &path, value))
                }
                "patch.json" => Err("is a change to another bundle: send the whole content instead".to_owned()),
                "policy.wasm" => Err("is compiled: send the Rego modules instead".to_owned()),
                _ if name.ends_with(".rego") => match String::from_utf8(bytes) {
                    Ok(text) => {
                        pack.modules.push(Source::new(path.clone(), text));
                        Ok(())
                    }
                    Err(error) => Err(format!("is not UTF-8, from byte {}", error.utf8_error().valid_up_to())),
                },
                // As OPA does: whatever else lies there is not read.
                _ => Ok(()),
            };
            if let Err(message) = read {
                faults.push(fault(&path, message));
            }
        }
        if faults.is_empty() {
            faults = pack.manifest.faults(&pack.modules, &pack.data);
        }
        pack.modules.sort_by(|a, b| a.path.cmp(&b.path));
        if faults.is_empty() { Ok(pack) } else { Err(faults) }
    }

    /// What an archive of it holds, in order.
    fn files(&self) -> Vec<File> {
        let file = |path: &str, bytes: Vec<u8>| File { path: path.to_owned(), bytes };
        let mut files = vec![file(MANIFEST, manifest::write(&self.manifest))];
        if self.data.as_object().is_some_and(|data| !data.is_empty()) {
            files.push(file("data.json", crate::bundle::canonical(&self.data).to_string().into_bytes()));
        }
        files.extend(self.modules.iter().map(|module| file(&module.path, module.text.clone().into_bytes())));
        files[1..].sort_by(|a, b| a.path.cmp(&b.path));
        files
    }
}

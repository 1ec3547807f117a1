//! `.manifest`: a bundle's revision, and the paths below `data` that it fills. Outside of them it may hold nothing.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::source::fault;
use crate::{Fault, Source};

/// What a bundle says of itself.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Manifest {
    /// Its author's own name for this content.
    #[serde(default)]
    pub revision: String,
    /// Paths below `data`, parts divided by slashes, that packages and data must lie in; `""` is everything.
    #[serde(default = "everything")]
    pub roots: Vec<String>,
    /// Anything that its author wants to keep with it; nobody reads it here.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    #[serde(default, rename = "rego_version")]
    language: Option<u8>,
    #[serde(default, rename = "file_rego_versions")]
    languages: Map<String, Value>,
    #[serde(default)]
    wasm: Vec<Value>,
}

impl Default for Manifest {
    fn default() -> Manifest {
        Manifest {
            revision: String::new(),
            roots: everything(),
            metadata: Map::new(),
            language: None,
            languages: Map::new(),
            wasm: Vec::new(),
        }
    }
}

fn everything() -> Vec<String> {
    vec![String::new()]
}

impl Manifest {
    /// A manifest with no more than a revision.
    pub fn of_revision(revision: impl Into<String>) -> Manifest {
        Manifest { revision: revision.into(), ..Manifest::default() }
    }

    /// Roots that overlap, and modules and data outside of all of them.
    pub(crate) fn faults(&self, modules: &[Source], data: &Value) -> Vec<Fault> {
        let roots: Vec<Vec<&str>> = self.roots.iter().map(|root| parts(root)).collect();
        let mut faults = Vec::new();
        for (at, root) in roots.iter().enumerate() {
            if let Some(other) = roots[at + 1..].iter().find(|other| root.starts_with(other) || other.starts_with(root))
            {
                let message = format!("the roots {:?} and {:?} overlap", root.join("/"), other.join("/"));
                faults.push(fault(super::MANIFEST, message));
            }
        }
        if roots.iter().any(Vec::is_empty) {
            return faults;
        }
        let said = self.roots.join(", ");
        for module in modules {
            match package_of(&module.text) {
                Some(package) if roots.iter().any(|root| within(&package, root)) => {}
                Some(package) => {
                    let message = format!("package {} lies outside the manifest's roots ({said})", package.join("."));
                    faults.push(fault(&module.path, message));
                }
                None => faults.push(fault(&module.path, "names no package, so no root of the manifest can hold it")),
            }
        }
        outside(data, &mut Vec::new(), &roots, &mut |path| {
            faults.push(fault("data", format!("data.{path} lies outside the manifest's roots ({said})")));
        });
        faults
    }
}

fn parts(root: &str) -> Vec<&str> {
    root.split('/').filter(|part| !part.is_empty()).collect()
}

fn within(path: &[String], root: &[&str]) -> bool {
    path.len() >= root.len() && path.iter().zip(root).all(|(part, of_root)| part == of_root)
}

/// The first paths, from the top, that no root holds and that lead to none.
fn outside(value: &Value, path: &mut Vec<String>, roots: &[Vec<&str>], tell: &mut impl FnMut(String)) {
    if roots.iter().any(|root| within(path, root)) {
        return;
    }
    let leads = |path: &[String]| {
        roots.iter().any(|root| root.len() > path.len() && path.iter().zip(root).all(|(part, of_root)| part == of_root))
    };
    match value {
        Value::Object(members) if leads(path) => {
            for (name, value) in members {
                path.push(name.clone());
                outside(value, path, roots, tell);
                path.pop();
            }
        }
        _ => tell(path.join(".")),
    }
}

/// The package that a module names: its first word that is no comment. What is no Rego is left to the compiler.
fn package_of(text: &str) -> Option<Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let code = text.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let mut rest = code.strip_prefix("package")?.strip_prefix([' ', '\t'])?.trim_start();
    let mut package = Vec::new();
    loop {
        let word = |letter: char| letter.is_alphanumeric() || letter == '_';
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let (name, after) = quoted.split_once("\"]")?;
            package.push(name.to_owned());
            rest = after;
        } else {
            let length = rest.find(|letter| !word(letter)).unwrap_or(rest.len());
            if length == 0 {
                return None;
            }
            package.push(rest[..length].to_owned());
            rest = &rest[length..];
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.starts_with("[\"") => {}
            None => return Some(package),
        }
    }
}

/// A manifest, or why not.
pub(crate) fn read(bytes: &[u8]) -> Result<Manifest, String> {
    // A list would do for a structure, member by member.
    let members: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| format!("is not a manifest: {error}"))?;
    let manifest: Manifest =
        serde_json::from_value(members.into()).map_err(|error| format!("is not a manifest: {error}"))?;
    let old = |version: &Value| version.as_u64() != Some(1);
    if manifest.language.is_some_and(|version| version != 1) || manifest.languages.values().any(old) {
        return Err("asks for a Rego older than v1: write the modules in Rego v1 (`opa fmt --v0-v1`)".into());
    }
    if !manifest.wasm.is_empty() {
        return Err("names WebAssembly: send the Rego modules instead".into());
    }
    let roots = manifest.roots.iter().map(|root| parts(root).join("/")).collect();
    Ok(Manifest { roots, language: None, languages: Map::new(), ..manifest })
}

/// The same manifest, the same bytes.
pub(crate) fn write(manifest: &Manifest) -> Vec<u8> {
    let mut said = json!({"revision": manifest.revision, "rego_version": 1});
    if manifest.roots != everything() {
        said["roots"] = json!(manifest.roots);
    }
    if !manifest.metadata.is_empty() {
        said["metadata"] = manifest.metadata.clone().into();
    }
    crate::bundle::canonical(&said).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_found_however_it_is_written() {
        let of = |text: &str| package_of(text).map(|path| path.join("."));
        assert_eq!(of("package alfred.rules.a"), Some("alfred.rules.a".into()));
        assert_eq!(of("# package x\n\n\tpackage\talfred.rules.a # b\nimport c"), Some("alfred.rules.a".into()));
        assert_eq!(of("package alfred[\"rules\"].a"), Some("alfred.rules.a".into()));
        for none in ["", "packages.a", "import a\npackage b", "package ", "package [", "package a.", "package a[\"b"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}

//! Data by the folder that it lies in: `roles/data.json` is `data.roles`; and a folder of the disk read like an archive.

use std::path::Path;

use serde_json::{Map, Value};

use super::PackLimits;
use super::archive::{self, File};
use crate::Fault;
use crate::source::fault;

/// The value of a data file.
pub(crate) fn value(bytes: &[u8], name: &str) -> Result<Value, String> {
    match name.ends_with(".json") {
        true => serde_json::from_slice(bytes).map_err(|error| format!("is not JSON: {error}")),
        false => serde_yaml_ng::from_slice(bytes).map_err(|error| format!("is not YAML: {error}")),
    }
}

/// Puts the value of a data file at its place; two files may share a place where both hold objects.
pub(crate) fn insert(data: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let folders: Vec<&str> = path.split('/').rev().skip(1).collect();
    let value =
        folders.iter().fold(value, |value, folder| Value::Object(Map::from_iter([((*folder).to_owned(), value)])));
    match value {
        Value::Object(_) => merge(data, value, "data"),
        _ => Err("must hold an object: its members become `data.<name>`".into()),
    }
}

fn merge(into: &mut Value, from: Value, path: &str) -> Result<(), String> {
    let (Value::Object(into), Value::Object(from)) = (into, from) else {
        return Err(format!("another file gives {path} too"));
    };
    for (name, value) in from {
        match into.get_mut(&name) {
            Some(there) => merge(there, value, &format!("{path}.{name}"))?,
            None => drop(into.insert(name, value)),
        }
    }
    Ok(())
}

/// What a folder of the disk would be in an archive. What is hidden is left out but for the manifest, and no link to a
/// folder is followed.
pub(crate) fn files(dir: &Path, limits: &PackLimits) -> Result<Vec<File>, Vec<Fault>> {
    let mut files = Vec::new();
    let mut folders = vec![(dir.to_owned(), String::new())];
    let mut bytes_left = limits.unpacked_bytes as u64;
    let mut seen = 0;
    while let Some((folder, above)) = folders.pop() {
        let unread = |path: &Path, error: std::io::Error| {
            vec![fault(&path.display().to_string(), format!("cannot be read: {error}"))]
        };
        for entry in std::fs::read_dir(&folder).map_err(|error| unread(&folder, error))? {
            let entry = entry.map_err(|error| unread(&folder, error))?;
            let found = entry.path();
            let kind = entry.file_type().map_err(|error| unread(&found, error))?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(vec![fault(&found.display().to_string(), "the name is not UTF-8")]);
            };
            let path = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
            let is_read = name.ends_with(".rego") || matches!(&*name, "data.json" | "data.yaml" | "data.yml");
            if kind.is_dir() && !name.starts_with('.') {
                folders.push((found, path));
                continue;
            }
            if kind.is_dir() || !(path == super::MANIFEST || is_read && !name.starts_with('.')) {
                continue;
            }
            seen += 1;
            if seen > limits.files {
                return Err(vec![fault(&dir.display().to_string(), format!("more than {} files", limits.files))]);
            }
            if let Some(wrong) = archive::path_fault(&path, limits) {
                return Err(vec![wrong]);
            }
            let size = std::fs::metadata(&found).map_err(|error| unread(&found, error))?.len();
            let Some(left) = bytes_left.checked_sub(size) else {
                let message = format!("the folder holds more than {} bytes", limits.unpacked_bytes);
                return Err(vec![fault(&found.display().to_string(), message)]);
            };
            bytes_left = left;
            files.push(File { path, bytes: std::fs::read(&found).map_err(|error| unread(&found, error))? });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

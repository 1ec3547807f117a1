//! A gzipped tar within bounds: plain files under plain paths, each once, and nothing behind them.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use tar::{Archive, Builder, EntryType, Header};

use super::PackLimits;
use crate::Fault;
use crate::source::fault;

const BLOCK: usize = 512;

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Without a leading slash.
    pub path: String,
    pub bytes: Vec<u8>,
}

/// The files of an archive, in order of path.
pub(crate) fn unpack(bytes: &[u8], limits: &PackLimits) -> Result<Vec<File>, Vec<Fault>> {
    let bundle = |message: String| vec![fault("bundle", message)];
    if bytes.len() > limits.packed_bytes {
        return Err(bundle(format!("{} bytes, at most {}", bytes.len(), limits.packed_bytes)));
    }
    let tar = unzipped(bytes, limits).map_err(bundle)?;
    let mut files = Vec::new();
    let mut faults = Vec::new();
    let mut taken = BTreeSet::new();
    let mut end = 0;
    let mut archive = Archive::new(tar.as_slice());
    let entries = archive.entries().map_err(|error| bundle(format!("is not a tar archive: {error}")))?;
    for (number, entry) in entries.enumerate() {
        if number == limits.files {
            return Err(bundle(format!("more than {} files", limits.files)));
        }
        let entry = entry.map_err(|error| bundle(format!("is damaged after {number} files: {error}")))?;
        let size = usize::try_from(entry.header().entry_size().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let begins = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
        end = begins.saturating_add(size).saturating_add(BLOCK - 1) / BLOCK * BLOCK;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue; // a remark on the whole archive, as `git archive` writes it
        }
        let is_folder = kind == EntryType::Directory;
        let path = match std::str::from_utf8(&entry.path_bytes()) {
            Ok(path) => plain(path, is_folder),
            Err(_) => {
                faults.push(fault("bundle", format!("the path of file {} is not UTF-8", number + 1)));
                continue;
            }
        };
        if is_folder && matches!(&*path, "" | ".") {
            continue; // the top itself
        }
        if let Some(wrong) = path_fault(&path, limits).or_else(|| kind_fault(kind, &path)) {
            faults.push(wrong);
            continue;
        }
        if is_folder {
            continue;
        }
        let mut content = Vec::new();
        // No file can hold more than the whole archive: what claims so is short of it, and said below.
        let read = entry.take(tar.len() as u64).read_to_end(&mut content);
        match read {
            Ok(length) if length == size => {}
            Ok(length) => return Err(bundle(format!("{path} ends after {length} of {size} bytes"))),
            Err(error) => return Err(bundle(format!("{path} cannot be read: {error}"))),
        }
        if !taken.insert(path.clone()) {
            faults.push(fault(&path, "stands in the bundle twice"));
            continue;
        }
        files.push(File { path, bytes: content });
    }
    if tar.get(end..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0)) {
        faults.push(fault("bundle", "something follows the last file"));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if faults.is_empty() { Ok(files) } else { Err(faults) }
}

/// The tar within, never more of it than allowed.
fn unzipped(bytes: &[u8], limits: &PackLimits) -> Result<Vec<u8>, String> {
    let mut decoder = GzDecoder::new(bytes);
    let mut tar = Vec::new();
    let most = limits.unpacked_bytes as u64 + 1;
    if let Err(error) = decoder.by_ref().take(most).read_to_end(&mut tar) {
        return Err(format!("is not gzip, or not all of it: {error}"));
    }
    if tar.len() > limits.unpacked_bytes {
        return Err(format!("unpacks to more than {} bytes", limits.unpacked_bytes));
    }
    match decoder.into_inner() {
        [] => Ok(tar),
        rest => Err(format!("{} bytes follow its end", rest.len())),
    }
}

/// A path as we know it: OPA writes a slash before each, `tar` a dot and a slash; either means the archive's own top.
fn plain(path: &str, is_folder: bool) -> String {
    let path = path.strip_prefix("./").or_else(|| path.strip_prefix('/')).unwrap_or(path);
    let path = path.strip_suffix('/').filter(|_| is_folder).unwrap_or(path);
    path.to_owned()
}

fn kind_fault(kind: EntryType, path: &str) -> Option<Fault> {
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::Directory => None,
        EntryType::Symlink | EntryType::Link => Some(fault(path, "is a link: only plain files are read")),
        _ => Some(fault(path, "is neither a file nor a folder")),
    }
}

/// Why a path will not do.
pub(crate) fn path_fault(path: &str, limits: &PackLimits) -> Option<Fault> {
    let message = if path.len() > limits.path_bytes {
        format!("the path has {} bytes, at most {}", path.len(), limits.path_bytes)
    } else if path.split('/').any(|part| part == "..") {
        "the path leads out of the bundle".to_owned()
    } else if path.starts_with('/') || path.get(1..3).is_some_and(|drive| drive == ":\\" || drive == ":/") {
        "the path is absolute: it must start at the bundle's top".to_owned()
    } else if path.split('/').any(|part| part.is_empty() || part == ".") {
        "the path has an empty part".to_owned()
    } else if path.contains(|letter: char| letter == '\\' || letter.is_control()) {
        "the path holds a backslash or a control character".to_owned()
    } else {
        return None;
    };
    Some(fault(&path.chars().filter(|letter| !letter.is_control()).take(240).collect::<String>(), message))
}

/// A tar of the files: no times, no owners, so that the same files are the same bytes.
pub(crate) fn joined(files: &[File]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for File { path, bytes } in files {
        if path.len() > 100 {
            let mut long = header(b"././@LongLink", EntryType::GNULongName, path.len() + 1);
            long.set_cksum();
            add(&mut builder, &long, &[path.as_bytes(), b"\0"].concat());
        }
        add(&mut builder, &header(path.as_bytes(), EntryType::Regular, bytes.len()), bytes);
    }
    builder.into_inner().expect("writing into memory does not fail")
}

fn add(builder: &mut Builder<Vec<u8>>, header: &Header, bytes: &[u8]) {
    builder.append(header, bytes).expect("writing into memory does not fail");
}

fn header(name: &[u8], kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_gnu();
    let field = &mut header.as_old_mut().name;
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    header
}

/// The same bytes, gzipped, without a time or a name.
pub(crate) fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder: GzEncoder<Vec<u8>> = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("writing into memory does not fail");
    encoder.finish().expect("writing into memory does not fail")
}

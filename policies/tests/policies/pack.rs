//! Bundles: what is read, what is refused, and that the same content is the same bytes.

use std::io::{Read, Write};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use policies::{Manifest, Pack, PackLimits, Source};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

const RULE: &str = "package alfred.rules.house\n\nimport rego.v1\n";

fn small() -> PackLimits {
    PackLimits { packed_bytes: 100_000, unpacked_bytes: 200_000, files: 20, path_bytes: 120 }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn entry(builder: &mut Builder<Vec<u8>>, kind: EntryType, path: &[u8], bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, bytes).unwrap();
}

pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    files.iter().for_each(|(path, bytes)| entry(&mut builder, EntryType::Regular, path.as_bytes(), bytes));
    builder.into_inner().unwrap()
}

fn read(files: &[(&str, &[u8])]) -> Pack {
    Pack::read(&gzip(&tar(files)), &small()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// The first fault of an archive.
#[track_caller]
fn refused(bytes: &[u8], expected: &str) {
    let faults = Pack::read(bytes, &small()).expect_err(expected);
    assert!(faults[0].to_string().starts_with(expected), "{faults:#?}\n{expected}");
}

#[test]
fn data_lies_where_its_folder_says() {
    let pack = read(&[
        ("/.manifest", br#"{"revision": "7", "roots": ["alfred", "/acme/teams/"], "metadata": {"by": "security"}}"#),
        ("/data.json", br#"{"alfred": {"caps": {"max_output_tokens": 5}}}"#),
        ("acme/teams/data.yaml", b"ads: {regions: [eu]}"),
        ("./acme/teams/hr/data.yml", b"regions: [ch]"),
        ("alfred/rules/house.rego", RULE.as_bytes()),
        ("README.md", b"\xff\xfe"),
        ("notes.json", b"{"),
    ]);
    assert_eq!(
        pack.data,
        json!({"alfred": {"caps": {"max_output_tokens": 5}}, "acme": {"teams": {"ads": {"regions": ["eu"]}, "hr": {"regions": ["ch"]}}}})
    );
    assert_eq!(pack.modules, [Source::new("alfred/rules/house.rego", RULE)]);
    assert_eq!((&*pack.manifest.revision, pack.manifest.roots.len()), ("7", 2));
    assert_eq!(pack.manifest.metadata["by"], "security");
}

#[test]
fn the_same_content_is_the_same_bytes_and_comes_back() {
    let long = format!("{}a.rego", "folder/".repeat(15));
    let modules =
        || vec![Source::new("b.rego", RULE), Source::new(long.clone(), RULE), Source::new("a_test.rego", "package a")];
    let pack = |modules: Vec<Source>, data: &str| {
        Pack::new(modules, serde_json::from_str(data).unwrap(), Manifest::of_revision("r1"))
    };
    let one = pack(modules(), r#"{"b": 1, "a": {"d": 2, "c": 3}}"#);
    let mut turned = modules();
    turned.reverse();
    let other = pack(turned, r#"{"a": {"c": 3, "d": 2}, "b": 1}"#);
    assert_eq!(one.write(), other.write());
    assert_eq!(one.digest(), other.digest());
    let again = Pack::read(&one.write(), &small()).unwrap();
    assert_eq!(again, one);
    assert_eq!(again.digest(), one.digest());
    let changed = [
        pack(modules(), r#"{"b": 1}"#),
        pack(modules()[1..].to_vec(), r#"{"b": 1, "a": {"d": 2, "c": 3}}"#),
        Pack { manifest: Manifest::of_revision("r2"), ..one.clone() },
    ];
    changed.iter().for_each(|it| assert_ne!(it.digest(), one.digest()));
    let empty = Pack::read(&Pack::new(Vec::new(), json!({}), Manifest::default()).write(), &small()).unwrap();
    assert_eq!((empty.modules.len(), empty.data), (0, json!({})));
}

#[test]
fn a_folder_reads_like_its_archive() {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put(".manifest", r#"{"revision": "9"}"#);
    put("house.rego", RULE);
    put("acme/data.json", r#"{"x": 1}"#);
    put("notes.txt", "kept out");
    put(".git/data.json", "broken");
    put("acme/.hidden.rego", "broken");
    let pack = Pack::of_dir(dir.path(), &small()).unwrap();
    assert_eq!((pack.modules.len(), &pack.data, &*pack.manifest.revision), (1, &json!({"acme": {"x": 1}}), "9"));
    assert_eq!(Pack::read(&pack.write(), &small()).unwrap(), pack);
    put("acme/big.rego", &"#".repeat(300_000));
    assert!(Pack::of_dir(dir.path(), &small()).unwrap_err()[0].message.contains("more than 200000 bytes"));
    assert!(Pack::of_dir(&dir.path().join("none"), &small()).unwrap_err()[0].message.starts_with("cannot be read"));
}

#[test]
fn paths_that_lead_anywhere_else_are_refused() {
    let of = |path: &str| gzip(&tar(&[(path, b"{}")]));
    for (path, expected) in [
        ("../data.json", "../data.json: the path leads out"),
        ("a/../../data.json", "a/../../data.json: the path leads out"),
        ("/../etc/passwd", "../etc/passwd: the path leads out"),
        ("//etc/passwd", "/etc/passwd: the path is absolute"),
        ("C:\\data.json", "C:\\data.json: the path is absolute"),
        ("a//data.json", "a//data.json: the path has an empty part"),
        ("a/./data.json", "a/./data.json: the path has an empty part"),
        ("a\\data.json", "a\\data.json: the path holds a backslash"),
        ("a\ndata.json", "adata.json: the path holds a backslash or a control"),
    ] {
        refused(&of(path), expected);
    }
    let mut builder = Builder::new(Vec::new());
    entry(&mut builder, EntryType::Regular, b"a\xff.rego", b"");
    refused(&gzip(&builder.into_inner().unwrap()), "bundle: the path of file 1 is not UTF-8");
    let long = Pack::new(vec![Source::new("a".repeat(121), "")], json!({}), Manifest::default());
    refused(&long.write(), &format!("{}: the path has 121 bytes, at most 120", "a".repeat(121)));
    assert_eq!(long.faults(&small()).len(), 1);
}

#[test]
fn only_plain_files_are_read_each_once() {
    for (kind, expected) in [
        (EntryType::Symlink, "x.rego: is a link"),
        (EntryType::Link, "x.rego: is a link"),
        (EntryType::Char, "x.rego: is neither a file nor a folder"),
        (EntryType::Block, "x.rego: is neither"),
        (EntryType::Fifo, "x.rego: is neither"),
        (EntryType::new(b'Z'), "x.rego: is neither"),
    ] {
        let mut builder = Builder::new(Vec::new());
        entry(&mut builder, EntryType::Directory, b"./", b"");
        entry(&mut builder, EntryType::Directory, b"folder/", b"");
        entry(&mut builder, kind, b"x.rego", b"");
        refused(&gzip(&builder.into_inner().unwrap()), expected);
    }
    refused(&gzip(&tar(&[("x.rego", b""), ("./x.rego", b"")])), "x.rego: stands in the bundle twice");
    refused(&gzip(&tar(&[("x.rego", b""), ("/x.rego", b"")])), "x.rego: stands in the bundle twice");
}

/// A file with holes says that it holds more than the archive has bytes.
#[test]
fn a_sparse_file_does_not_fill_the_memory() {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..6].copy_from_slice(b"x.rego");
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(0);
    header.as_gnu_mut().unwrap().set_real_size(1 << 40);
    header.as_gnu_mut().unwrap().sparse[0].set_offset(1 << 40);
    header.as_gnu_mut().unwrap().sparse[0].set_length(0);
    header.set_cksum();
    refused(&gzip(header.as_bytes()), "x.rego: is neither a file nor a folder");
}

#[test]
fn what_is_too_much_damaged_or_followed_by_more_is_refused() {
    refused(&[b'x'; 100_001], "bundle: 100001 bytes, at most 100000");
    refused(&gzip(&[0; 10_000_000]), "bundle: unpacks to more than 200000 bytes");
    refused(&gzip(&tar(&[("big.rego", &[b'#'; 250_000])])), "bundle: unpacks to more than 200000 bytes");
    let many: Vec<String> = (0..21).map(|at| format!("{at}.rego")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|path| (&**path, &b""[..])).collect();
    refused(&gzip(&tar(&many)), "bundle: more than 20 files");

    let whole = gzip(&tar(&[("x.rego", RULE.as_bytes())]));
    refused(b"", "bundle: is not gzip");
    refused(b"package a", "bundle: is not gzip");
    refused(&whole[..whole.len() / 2], "bundle: is not gzip, or not all of it");
    refused(&[&whole[..], b"more"].concat(), "bundle: 4 bytes follow its end");
    refused(&[&whole[..], &whole[..]].concat(), "bundle: ");
    refused(&gzip(&[0x11; 700]), "bundle: is damaged after 0 files");
    let plain = tar(&[("x.rego", RULE.as_bytes())]);
    refused(&gzip(&[&plain[..], b"hidden"].concat()), "bundle: something follows the last file");
    refused(&gzip(&[&plain[..], &tar(&[("y.rego", b"")])].concat()), "bundle: something follows the last file");
    refused(&gzip(&plain[..520]), "bundle: ");
    let mut unpacked = Vec::new();
    GzDecoder::new(&whole[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
}

#[test]
fn what_a_file_holds_must_be_what_its_name_says() {
    for (path, bytes, expected) in [
        ("x.rego", &b"package \xff"[..], "x.rego: is not UTF-8, from byte 8"),
        ("data.json", b"{", "data.json: is not JSON: EOF"),
        ("a/data.yaml", b"a: [", "a/data.yaml: is not YAML"),
        ("data.json", b"[1]", "data.json: must hold an object"),
        (".manifest", b"[]", ".manifest: is not a manifest"),
        (".manifest", br#"{"revision": 7}"#, ".manifest: is not a manifest: invalid type"),
        (".manifest", br#"{"rego_version": 0}"#, ".manifest: asks for a Rego older than v1"),
        (".manifest", br#"{"rego_version": 1, "file_rego_versions": {"/x.rego": 0}}"#, ".manifest: asks for"),
        (".manifest", br#"{"wasm": [{"module": "/policy.wasm"}]}"#, ".manifest: names WebAssembly"),
        ("policy.wasm", b"\0asm", "policy.wasm: is compiled"),
        ("patch.json", b"{}", "patch.json: is a change to another bundle"),
    ] {
        refused(&gzip(&tar(&[(path, bytes)])), expected);
    }
    refused(&gzip(&tar(&[("data.json", &[b'['; 50_000])])), "data.json: is not JSON: recursion limit");
    refused(
        &gzip(&tar(&[("a/data.json", br#"{"b": {"c": 1}}"#), ("a/b/data.json", br#"{"c": 2}"#)])),
        "a/data.json: another file gives data.a.b.c too",
    );
}

#[test]
fn nothing_lies_outside_the_manifest_s_roots() {
    let with = |roots: &[&str], path: &str, bytes: &[u8]| {
        gzip(&tar(&[(".manifest", json!({ "roots": roots }).to_string().as_bytes()), (path, bytes)]))
    };
    let house = RULE.as_bytes();
    for roots in [&["alfred"][..], &["alfred/rules/house"], &["/alfred/rules/"], &[""], &["acme", "alfred/rules/house"]]
    {
        Pack::read(&with(roots, "x.rego", house), &small()).unwrap();
    }
    for (roots, path, bytes, expected) in [
        (&["alfred/rules/other"][..], "x.rego", house, "x.rego: package alfred.rules.house lies outside"),
        (&["alfred/rules/house/deep"], "x.rego", house, "x.rego: package alfred.rules.house lies outside"),
        (&["alf"], "x.rego", house, "x.rego: package alfred.rules.house lies outside"),
        (&["alfred"], "x.rego", b"?", "x.rego: names no package"),
        (&["acme/a"], "data.json", br#"{"acme": {"a": 1, "b": 2}}"#, "data: data.acme.b lies outside"),
        (&["acme/a"], "data.json", br#"{"acme": 7}"#, "data: data.acme lies outside"),
        (&["acme", "acme/b"], "x.txt", b"", ".manifest: the roots \"acme\" and \"acme/b\" overlap"),
        (&["", "acme/b"], "x.txt", b"", ".manifest: the roots \"\" and \"acme/b\" overlap"),
    ] {
        refused(&with(roots, path, bytes), expected);
    }
    let none: Value = json!({});
    assert_eq!(Pack::new(Vec::new(), none, Manifest::default()).faults(&small()), []);
}

//! Lists the files of the catalogue, so that none can be forgotten: a new provider is a new file and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() {
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")).join("catalog");
    println!("cargo:rerun-if-changed={}", folder.display());
    let entries = std::fs::read_dir(&folder).expect("the folder of the catalogue");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let yaml = files.filter(|file| file.extension().is_some_and(|it| it == "yaml"));
    // By kind, not by the name of the file: '-' comes before '.', and kinds are looked for by halves.
    let files: BTreeMap<String, PathBuf> = yaml.map(|file| (kind(&file), file)).collect();
    let mut code = format!(
        "/// Kind and text of each file, in the order of the alphabet.\nconst FILES: [(&str, &str); {}] = [\n",
        files.len()
    );
    for (kind, file) in &files {
        writeln!(code, "    ({kind:?}, include_str!({:?})),", file.display().to_string()).expect("memory");
    }
    code.push_str("];\n");
    std::fs::write(Path::new(&variable("OUT_DIR")).join("catalog.rs"), code).expect("the folder of the build");
}

fn kind(file: &Path) -> String {
    file.file_stem().and_then(|it| it.to_str()).expect("a name in UTF-8").to_owned()
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("cargo sets it")
}

//! What a user reads: every file of `tests/bad/` with exactly what is said about it.
//!
//! `BLESS=1 cargo test -p mooring-policy --test messages` writes the `.txt` files anew; read the
//! difference as the person who made the mistake.

use std::fs;
use std::path::{Path, PathBuf};

use mooring_policy::load;

fn bad_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let entries = fs::read_dir(folder).expect("tests/bad is there");
    let paths = entries.map(|entry| entry.expect("tests/bad can be listed").path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

/// Errors and warnings as `mooring check` prints them.
fn said_about(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a file of tests/bad can be read");
    let name = path.file_name().expect("a file has a name").to_string_lossy();
    match load(&text) {
        Err(problems) => problems.render(&name),
        Ok(loaded) => loaded.warnings.iter().map(|warning| warning.render(&name)).collect(),
    }
}

#[test]
fn every_mistake_is_told_exactly_so() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for path in bad_files() {
        let said = said_about(&path);
        let expected = path.with_extension("txt");
        if bless {
            fs::write(&expected, &said).expect("tests/bad can be written");
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if said != expected {
            wrong.push(format!("{}\n--- expected\n{expected}--- said\n{said}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mistake_has_a_hint_and_the_order_of_the_text() {
    for path in bad_files() {
        let text = fs::read_to_string(&path).expect("a file of tests/bad can be read");
        let Err(problems) = load(&text) else { continue };
        assert!(problems.0.iter().all(|problem| problem.hint.is_some()), "{problems}");
        let places: Vec<_> = problems.0.iter().map(|p| (p.line, p.column)).collect();
        assert!(places.is_sorted(), "{}: {places:?}", path.display());
    }
}

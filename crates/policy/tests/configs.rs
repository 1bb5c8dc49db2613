//! Every example that we ship can be loaded, and says nothing that has to be warned of.

use std::fs;
use std::path::Path;

#[test]
fn every_example_loads_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut loaded = 0;
    for entry in fs::read_dir(folder).expect("the examples are in configs/") {
        let path = entry.expect("configs/ can be listed").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("an example can be read");
        let name = path.display().to_string();
        let config = mooring_policy::load(&text).unwrap_or_else(|p| panic!("{}", p.render(&name)));
        assert!(config.warnings.is_empty(), "{name}: {:?}", config.warnings);
        loaded += 1;
    }
    assert!(loaded >= 11, "only {loaded} examples");
}

//! The configuration that the README shows can be loaded: what is marked `toml` there is whole.

use std::fs;
use std::path::Path;

#[test]
fn the_configuration_of_the_readme_loads_without_a_warning() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = fs::read_to_string(path).expect("the README is there");
    let blocks: Vec<_> = text.split("\n```toml\n").skip(1).collect();
    assert!(!blocks.is_empty(), "the README shows a configuration");
    for block in blocks {
        let (block, _) = block.split_once("\n```").expect("a block ends");
        let config =
            mooring_policy::load(block).unwrap_or_else(|p| panic!("{}", p.render("README.md")));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

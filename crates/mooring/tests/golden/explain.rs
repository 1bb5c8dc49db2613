//! What `mooring explain` answers, word for word: `explain/questions.txt`, asked of `explain/config.toml`.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Whoever decides is named with its line.
#[test]
fn every_question_is_answered_word_for_word() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/explain");
    let questions = fs::read_to_string(folder.join("questions.txt")).expect("there are some");
    let questions = questions.lines().filter(|line| !line.starts_with('#'));
    let answers: String = questions.map(|question| answer(&folder, question)).collect();
    let path = folder.join("answers.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &answers).expect("the folder is writable");
    }
    let expected = fs::read_to_string(&path).expect("there are answers");
    assert!(answers == expected, "{answers}\nis not {}", path.display());
}

/// The answer below the question: the name of the interface, then the packet.
fn answer(folder: &Path, question: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
    command.current_dir(folder).args(["explain", "-c", "config.toml", "--in"]);
    let output = command.args(question.split(' ')).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{question}: {said}");
    format!("$ mooring explain --in {question}\n{}\n", String::from_utf8_lossy(&output.stdout))
}

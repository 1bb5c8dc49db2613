//! What a user meets at the command line: exit codes, messages, and readers that go away.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn mooring(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
    command.args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with a configuration of one interface and these captures.
fn folder(captures: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let config = "[[interface]]\nname = \"inside\"\ndevice = \"in0\"\naddresses = [\"10.0.0.1/24\"]\n\
                  [limits]\nsessions = 1000\n";
    fs::write(folder.path().join("mooring.toml"), config).expect("writable");
    for (name, bytes) in captures {
        fs::write(folder.path().join(name), bytes).expect("writable");
    }
    folder
}

fn replay(folder: &Path, input: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
    command.current_dir(folder).args(["replay", "-c", "mooring.toml", "--out-dir", "out"]);
    command.args(["--in", input]).args(more).output().expect("the binary runs")
}

/// As `--help` lists them.
const VERBS: [&str; 8] =
    ["run", "check", "show", "explain", "replay", "schema", "completions", "man"];

/// A classic header, Ethernet.
const HEADER: [u8; 24] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];

#[test]
fn a_capture_that_is_not_whole_is_named_with_the_place_and_nothing_is_written() {
    let cut = [&HEADER[..], &[1; 10]].concat();
    let folder = folder(&[("cut.pcap", &cut), ("text.pcap", b"no capture at all")]);
    for (input, place) in [("cut.pcap", "at byte 24"), ("text.pcap", "at byte 0")] {
        let output = replay(folder.path(), &format!("inside={input}"), &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(input) && said.contains(place), "{said}");
        assert!(!folder.path().join("out").exists());
    }
}

#[test]
fn arguments_that_cannot_be_right_are_refused_with_2() {
    let folder = folder(&[("empty.pcap", &HEADER)]);
    for (input, more, word) in [
        ("outside=empty.pcap", &[][..], "inside"),
        ("inside=absent.pcap", &[], "absent.pcap"),
        ("empty.pcap", &[], "INTERFACE=FILE"),
        ("inside=empty.pcap", &["--neighbors", "none"], "real"),
        ("inside=empty.pcap", &["--drain", "soon"], "--drain"),
    ] {
        let output = replay(folder.path(), input, more);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_capture_without_packets_gives_captures_without_packets() {
    let folder = folder(&[("empty.pcap", &HEADER)]);
    let output = replay(folder.path(), "inside=empty.pcap", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "[]\n");
    assert!(folder.path().join("out/inside.pcapng").is_file());
}

#[test]
fn help_names_every_verb_and_shows_examples() {
    let help = text(&mooring(&["--help"]).stdout);
    assert!(help.contains("Examples:"), "{help}");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.map_while(|line| line.strip_prefix("  ")?.split(' ').next());
    let listed: Vec<_> = listed.filter(|verb| *verb != "help").collect();
    assert_eq!(listed, VERBS, "{help}");
    for verb in VERBS {
        let help = text(&mooring(&[verb, "--help"]).stdout);
        assert!(help.contains("Example"), "{verb}: {help}");
    }
}

/// Explains by the configuration of the golden case `udp`.
fn explain(words: &[&str]) -> Output {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases/udp/config.toml");
    let config = config.to_str().expect("text");
    mooring(&[&["explain", "-c", config][..], words].concat())
}

#[test]
fn explain_tells_rule_by_rule_what_would_happen() {
    let output = explain(&["--in", "inside", "udp", "10.0.0.2:5000", "198.51.100.7:53"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for expected in
        ["rule         line 19: `egress` matches", "next hop     192.0.2.2 on `outside`"]
    {
        assert!(told.contains(expected), "{told}");
    }
    let output =
        explain(&["--json", "--in", "outside", "tcp", "198.51.100.7:5000", "203.0.113.10:80"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["verdict"], &told["reason"]), (&"dropped".into(), &"no_session".into()));
    let output = explain(&["--outside", "203.0.113.10:80"]);
    assert!(text(&output.stdout).contains("pool `egress`"), "{}", text(&output.stdout));
}

#[test]
fn a_question_that_makes_no_sense_is_refused_with_2() {
    for (words, what) in [
        (&["--in", "inside"][..], "PROTO"),
        (&["--in", "elsewhere", "udp", "10.0.0.2:1", "192.0.2.2:2"], "inside, outside"),
        (&["--in", "inside", "udp", "10.0.0.2:1", "[2001:db8::1]:2"], "family"),
        (&["--outside", "nowhere"], "nowhere"),
        (&[], "--in"),
    ] {
        let output = explain(words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(what), "{said}");
    }
    let unheard = mooring(&["explain", "--control", "absent.sock", "--outside", "192.0.2.1:1"]);
    assert_eq!(unheard.status.code(), Some(1));
}

#[test]
fn every_shell_gets_completions_of_every_verb() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = mooring(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let script = text(&output.stdout);
        let words: Vec<_> = script.split(|c: char| !c.is_ascii_alphabetic()).collect();
        for verb in VERBS {
            assert!(words.contains(&verb), "{shell}: {verb}");
        }
    }
    assert_eq!(mooring(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn manual_pages_are_written_for_every_verb() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let place = folder.path().join("man1");
    let output = mooring(&["man", "--dir", place.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for verb in VERBS {
        let page = fs::read_to_string(place.join(format!("mooring-{verb}.1")));
        let page = page.unwrap_or_else(|error| panic!("{verb}: {error}"));
        assert!(page.contains(&format!(".TH mooring-{verb} 1")), "{verb}: {page}");
    }
    assert!(place.join("mooring.1").is_file());
    assert!(text(&mooring(&["man"]).stdout).contains(".TH mooring 1"));
}

#[test]
fn the_schema_is_the_committed_one() {
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.schema.json");
    let output = mooring(&["schema"]);
    assert_eq!(text(&output.stdout), fs::read_to_string(copy).expect("it is committed"));
}

/// The reader has gone before the first byte: that is nobody's failure.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for arguments in [&["man"][..], &["completions", "zsh"], &["--help"], &["schema"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
        command.args(arguments).stdout(writer).stderr(Stdio::piped());
        let output = command.output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn the_version_names_the_commit() {
    assert!(text(&mooring(&["--version"]).stdout).contains("(commit "));
}

/// RFC 7422: who had a port follows from the configuration alone; nothing has to run, or have run.
#[test]
fn the_host_behind_a_port_of_a_deterministic_pool_is_named_by_the_file() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let config = configs.join("deterministic.toml");
    let config = config.to_str().expect("text");
    for (end, host) in [("203.0.113.17:1500", "10.0.0.64"), ("203.0.113.16:65535", "10.0.0.63")] {
        let output = mooring(&["explain", "-c", config, "--outside", end, "udp"]);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(told.contains(&format!("for {host} and nobody else")), "{told}");
        assert!(told.contains(&format!("=>           of {host} by the formula")), "{told}");
    }
}

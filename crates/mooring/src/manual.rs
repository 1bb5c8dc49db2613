//! What the command line says about itself: completions for shells, manual pages, the schema of the
//! configuration. All of it is made from the definitions, so none of it can be out of date.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::exit::Failure;
use crate::failed;

/// Prints the JSON Schema of the configuration.
///
/// # Errors
/// When it cannot be printed; a reader that went away is no error.
pub fn schema() -> Result<(), Failure> {
    let schema = mooring_policy::schema();
    print(format!("{}\n", schema.trim_end()).as_bytes())
}

/// Prints the completions for a shell.
///
/// # Errors
/// When they cannot be printed; a reader that went away is no error.
pub fn completions(arguments: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), NAME, &mut script);
    print(&script)
}

/// Prints the main manual page, or writes all of them into a folder.
///
/// # Errors
/// When they cannot be written.
pub fn man(arguments: &ManArgs) -> Result<(), Failure> {
    let pages = pages().map_err(|error| failed(&error, None))?;
    match &arguments.dir {
        None => print(&pages[0].1),
        Some(folder) => write(folder, &pages),
    }
}

/// The file name and the text of every page, the main page first.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![page(command.clone(), NAME)?];
    for verb in command.get_subcommands() {
        let name = format!("{NAME}-{}", verb.get_name());
        pages.push(page(verb.clone(), &name)?);
    }
    Ok(pages)
}

fn page(command: Command, name: &str) -> io::Result<(String, Vec<u8>)> {
    let mut text = Vec::new();
    // clap wants names that live as long as the program; there are a dozen of them.
    let title: &'static str = name.to_owned().leak();
    Man::new(command.name(title)).render(&mut text)?;
    Ok((format!("{name}.1"), text))
}

fn write(folder: &Path, pages: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    let unwritten = |path: &Path, error: &io::Error| {
        failed(&format!("cannot write `{}`: {error}", path.display()), None)
    };
    fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
    for (name, text) in pages {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| unwritten(&path, &error))?;
    }
    Ok(())
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(&error, None)),
        _ => Ok(()),
    }
}

const NAME: &str = "mooring";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::pages;
    use crate::cli::Cli;

    #[test]
    fn every_verb_has_its_page() {
        let pages = pages().expect("memory");
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "mooring.1");
        for verb in Cli::command().get_subcommands() {
            assert!(names.contains(&format!("mooring-{}.1", verb.get_name()).as_str()));
        }
        for (name, text) in &pages {
            let text = String::from_utf8_lossy(text);
            assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH NAME"), "{name}");
        }
    }
}

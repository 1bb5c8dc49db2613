//! A page for people: one HTML file that needs nothing else, neither network nor script.

mod axis;
mod plot;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::about::About;

pub(crate) use axis::{Axis, Scale, Unit, name};
pub(crate) use plot::{Colour, Plot, Series, Shape};

/// What a page shows.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) title: String,
    /// The figures that count, with what they are.
    pub(crate) figures: Vec<Figure>,
    pub(crate) plots: Vec<Plot>,
    pub(crate) tables: Vec<Table>,
    /// What a reader must know to read the figures rightly.
    pub(crate) notes: Vec<String>,
}

/// A figure with its name.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

/// Rows of cells; the first of each row is its name.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Figure {
    pub(crate) fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into() }
    }
}

impl Page {
    /// Writes the page, with what was measured where.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, path: &Path, about: &About) -> Result<()> {
        fs::write(path, self.html(about)).with_context(|| path.display().to_string())
    }

    fn html(&self, about: &About) -> String {
        let title = escaped(&self.title);
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
             <p class=\"where\">{} · {} · commit {}</p>\n<div class=\"figures\">\n",
            escaped(&about.date),
            escaped(&about.machine.to_string()),
            escaped(about.commit),
        );
        for figure in &self.figures {
            let _ = writeln!(
                html,
                "<div><b>{}</b><span>{}</span></div>",
                escaped(&figure.value),
                escaped(figure.name)
            );
        }
        html.push_str("</div>\n");
        for note in &self.notes {
            let _ = writeln!(html, "<p class=\"note\">{}</p>", escaped(note));
        }
        for plot in self.plots.iter().filter(|plot| !plot.is_empty()) {
            plot.write(&mut html);
        }
        for table in &self.tables {
            table.write(&mut html);
        }
        about.table().write(&mut html);
        html.push_str("</main>\n</body>\n</html>\n");
        html
    }
}

impl Plot {
    fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.is_empty())
    }

    fn write(&self, html: &mut String) {
        let _ = write!(html, "<figure>\n<h2>{}</h2>\n<p class=\"legend\">", escaped(self.title));
        for series in self.series.iter().filter(|series| series.is_named()) {
            let _ = write!(
                html,
                "<span><i class=\"swatch {} {}\"></i>{}</span>",
                series.colour.class(),
                series.shape.swatch(),
                escaped(series.name)
            );
        }
        let _ = writeln!(
            html,
            "</p>\n{}<figcaption>{}</figcaption>\n</figure>",
            self.svg(),
            escaped(&self.caption)
        );
    }
}

impl Table {
    fn write(&self, html: &mut String) {
        // Without a head it is a list of words.
        let class = if self.head.is_empty() { " class=\"words\"" } else { "" };
        let _ = writeln!(
            html,
            "<section>\n<h2>{}</h2>\n<div class=\"wide\"><table{class}>",
            escaped(self.title)
        );
        if !self.head.is_empty() {
            row(html, "th", &self.head);
        }
        for cells in &self.rows {
            row(html, "td", cells);
        }
        html.push_str("</table></div>\n</section>\n");
    }
}

fn row(html: &mut String, kind: &str, cells: &[String]) {
    html.push_str("<tr>");
    for cell in cells {
        let _ = write!(html, "<{kind}>{}</{kind}>", escaped(cell));
    }
    html.push_str("</tr>\n");
}

/// As text in HTML and in its attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests;

//! A plot as SVG, drawn by hand: a dozen kinds of elements, whose colours are the page's, so that they are
//! right on light and on dark.

use std::fmt::Write;

use super::axis::{Axis, Fitted};
use super::escaped;

/// A plot with its words.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    /// What it shows, for somebody who was not there.
    pub(crate) caption: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    /// A number of the y axis that has a line of its own, and what it is.
    pub(crate) limit: Option<(f64, String)>,
}

/// What is drawn in one colour.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) colour: Colour,
    pub(crate) points: Vec<(f64, f64)>,
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Line,
    /// A line that another one may lie on.
    Wide,
    Dots,
    /// Crosses: what failed must not depend on its colour alone.
    Crosses,
    Bars,
}

/// A colour by what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    First,
    Second,
    Third,
    Good,
    Bad,
    /// What connects other things.
    Faint,
}

impl Shape {
    /// What stands for it in the legend.
    pub(super) fn swatch(self) -> &'static str {
        match self {
            Self::Crosses => "x",
            Self::Dots => "o",
            Self::Line | Self::Wide | Self::Bars => "",
        }
    }

    fn line(self) -> Option<&'static str> {
        match self {
            Self::Line => Some("line"),
            Self::Wide => Some("line wide"),
            _ => None,
        }
    }
}

impl Colour {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::First => "c1",
            Self::Second => "c2",
            Self::Third => "c3",
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Faint => "faint",
        }
    }
}

impl Plot {
    /// The drawing.
    pub(super) fn svg(&self) -> String {
        let numbers = || self.series.iter().flat_map(|series| &series.points);
        let x = Fitted::new(self.x, numbers().map(|point| point.0));
        let limit = self.limit.iter().map(|limit| limit.0);
        let y = Fitted::new(self.y, numbers().map(|point| point.1).chain(limit));
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escaped(self.title)
        );
        self.frame(&mut svg, &x, &y);
        for series in &self.series {
            series.draw(&mut svg, &x, &y);
        }
        if let Some((at, what)) = &self.limit {
            let (at, end) = (down(&y, *at), WIDTH - RIGHT);
            let _ = writeln!(
                svg,
                "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"mark limit-name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                end - 4.0,
                at - 5.0,
                escaped(what)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn frame(&self, svg: &mut String, x: &Fitted, y: &Fitted) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for mark in &y.marks {
            let at = down(y, *mark);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                escaped(&y.name(*mark))
            );
        }
        for mark in &x.marks {
            let (at, name) = (across(x, *mark), x.name(*mark));
            // The last one stays on the drawing.
            let is_cut = at > right - 10.0 && name.len() > 3;
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{}\">{}</text>",
                if is_cut { right + RIGHT - 2.0 } else { at },
                bottom + 18.0,
                if is_cut { "end" } else { "middle" },
                escaped(&name)
            );
        }
        let (middle, half) = (LEFT.midpoint(right), TOP.midpoint(bottom));
        let _ = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <text class=\"label\" x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"label\" transform=\"translate(16 {half}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 6.0,
            escaped(self.x.label),
            escaped(self.y.label)
        );
    }
}

impl Series {
    /// Whether it stands in the legend.
    pub(super) fn is_named(&self) -> bool {
        self.colour != Colour::Faint && !self.points.is_empty()
    }

    fn draw(&self, svg: &mut String, x: &Fitted, y: &Fitted) {
        let class = self.colour.class();
        let drawn = || self.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        let place = |point: &(f64, f64)| (across(x, point.0), down(y, point.1));
        if let Some(kind) = self.shape.line() {
            let place = |point| {
                let (left, top) = place(point);
                format!("{left:.1},{top:.1}")
            };
            let path: Vec<String> = drawn().map(place).collect();
            let path = path.join(" ");
            let _ = writeln!(svg, "<polyline class=\"{kind} {class}\" points=\"{path}\"/>");
        }
        let bar = (WIDTH - LEFT - RIGHT) / self.points.len().max(1) as f64;
        for point in drawn() {
            let (left, top) = place(point);
            let shape = match self.shape {
                // Something to point at.
                Shape::Line | Shape::Wide => {
                    format!("<circle class=\"touch\" cx=\"{left:.1}\" cy=\"{top:.1}\" r=\"5\">")
                }
                Shape::Dots => {
                    format!(
                        "<circle class=\"dot {class}\" cx=\"{left:.1}\" cy=\"{top:.1}\" r=\"4.5\">"
                    )
                }
                Shape::Crosses => format!(
                    "<path class=\"cross {class}\" d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\">",
                    left - 4.0,
                    top - 4.0
                ),
                Shape::Bars => format!(
                    "<rect class=\"bar {class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\">",
                    left - bar * 0.4,
                    bar * 0.8,
                    HEIGHT - BOTTOM - top
                ),
            };
            let end = match self.shape {
                Shape::Line | Shape::Wide | Shape::Dots => "circle",
                Shape::Crosses => "path",
                Shape::Bars => "rect",
            };
            let _ = writeln!(
                svg,
                "{shape}<title>{}: {} at {}</title></{end}>",
                escaped(self.name),
                escaped(&y.name(point.1)),
                escaped(&x.name(point.0))
            );
        }
    }
}

fn across(x: &Fitted, number: f64) -> f64 {
    LEFT + x.place(number) * (WIDTH - LEFT - RIGHT)
}

fn down(y: &Fitted, number: f64) -> f64 {
    HEIGHT - BOTTOM - y.place(number) * (HEIGHT - TOP - BOTTOM)
}

/// Of the drawing, in its own units: the page gives it the width there is.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;

/// Around what is drawn: room for marks and labels.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 50.0;

use super::{Axis, Colour, Figure, Page, Plot, Scale, Series, Shape, Table, Unit};
use crate::about::About;

fn page() -> Page {
    let line = |name, colour, shape, points: &[(f64, f64)]| Series {
        name,
        shape,
        colour,
        points: points.to_vec(),
    };
    Page {
        title: "Loss & latency <of a run>".to_owned(),
        figures: vec![Figure::new("sent", "20 k pps")],
        plots: vec![
            Plot {
                title: "Rates",
                caption: "What was sent, \"all of it\".".to_owned(),
                x: Axis { label: "seconds", scale: Scale::Linear, unit: Unit::Seconds },
                y: Axis { label: "packets a second", scale: Scale::Linear, unit: Unit::Count },
                series: vec![
                    line("sent", Colour::First, Shape::Line, &[(0.0, 10.0), (1.0, 20.0)]),
                    line("failed", Colour::Bad, Shape::Crosses, &[(0.5, f64::NAN), (1.0, 20.0)]),
                ],
                limit: Some((15.0, "asked for".to_owned())),
            },
            Plot {
                title: "Nothing to see",
                caption: String::new(),
                x: Axis { label: "", scale: Scale::Linear, unit: Unit::Count },
                y: Axis { label: "", scale: Scale::Log, unit: Unit::Count },
                series: vec![line("none", Colour::First, Shape::Line, &[])],
                limit: None,
            },
        ],
        tables: vec![Table {
            title: "Trials",
            head: vec!["rate".to_owned()],
            rows: vec![vec!["1 < 2".to_owned()]],
        }],
        notes: vec!["read this".to_owned()],
    }
}

/// Counts tags that open and close; every other one is empty or closes itself.
fn is_balanced(html: &str) -> bool {
    ["html", "main", "svg", "figure", "table", "tr", "td", "title", "text", "circle", "path"]
        .iter()
        .all(|tag| {
            let opened = html.matches(&format!("<{tag}>")).count()
                + html.matches(&format!("<{tag} ")).count();
            opened == html.matches(&format!("</{tag}>")).count()
        })
}

#[test]
fn a_page_needs_nothing_else_and_takes_text_as_text() {
    let html = page().html(&About::of(vec![("--source".to_owned(), "<10.0.0.2>".to_owned())]));
    assert!(is_balanced(&html), "{html}");
    for outside in ["http://", "https://", "<script", "url(", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.contains("<h1>Loss &amp; latency &lt;of a run&gt;</h1>"));
    assert!(html.contains("&lt;10.0.0.2&gt;") && html.contains("1 &lt; 2"));
    // What is drawn: a line of two points, one cross of two (the other is no number), the limit.
    assert_eq!(html.matches("<polyline").count(), 1);
    assert_eq!(html.matches("<path class=\"cross").count(), 1);
    assert!(html.contains(">asked for</text>") && html.contains(">packets a second</text>"));
    assert!(!html.contains("Nothing to see") && !html.contains("NaN"));
}

#[test]
fn a_point_lies_where_its_numbers_say() {
    let svg = page().plots[0].svg();
    // Ten of twenty packets are half way up, the first second is all the way to the right.
    assert!(svg.contains("points=\"84.0,132.0 738.0,14.0\""), "{svg}");
}

//! The dashboard's files, which are part of the program.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Path, media type, contents.
const FILES: [(&str, &str, &str); 9] = [
    ("/", HTML, include_str!("../files/index.html")),
    ("/style.css", CSS, include_str!("../files/style.css")),
    ("/icon.svg", SVG, include_str!("../files/icon.svg")),
    ("/app.js", SCRIPT, include_str!("../files/app.js")),
    ("/charts.js", SCRIPT, include_str!("../files/charts.js")),
    ("/data.js", SCRIPT, include_str!("../files/data.js")),
    ("/dom.js", SCRIPT, include_str!("../files/dom.js")),
    ("/format.js", SCRIPT, include_str!("../files/format.js")),
    ("/views.js", SCRIPT, include_str!("../files/views.js")),
];

/// A file, or that there is none.
pub(crate) async fn page(uri: Uri) -> Response {
    match FILES.iter().find(|(path, _, _)| *path == uri.path()) {
        Some((_, kind, text)) => {
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *text).into_response()
        }
        None => {
            let text = "there is nothing here; the dashboard is at /, its documents under /api/v1/\n";
            (StatusCode::NOT_FOUND, text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_is_inline() {
        for (path, kind, text) in FILES {
            let names_others = text.match_indices("://").any(|(at, _)| {
                !text[..at].ends_with("http") || !text[at..].starts_with("://www.w3.org/2000/svg")
            });
            assert!(!names_others, "{path} names another place");
            for inline in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(
                    !text.contains(inline),
                    "{path} uses {inline}: names of agents are text, never markup"
                );
            }
            if kind == HTML {
                assert!(!text.contains("style=") && !text.contains(" on"), "{path} has something inline");
                assert_eq!(
                    text.matches("<script").count(),
                    text.matches("<script type=\"module\" src=\"/").count()
                );
            }
        }
    }

    #[test]
    fn every_file_that_a_page_imports_is_there() {
        for (path, _, text) in FILES {
            let imported = text.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next());
            for file in imported {
                assert!(
                    FILES.iter().any(|(path, _, _)| path.strip_prefix('/') == Some(file)),
                    "{path} imports {file}"
                );
            }
        }
    }
}

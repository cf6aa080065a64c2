//! The report's file: one page with everything in it, that needs no server and asks for nothing.
//!
//! Its modules are the live page's where they show the same, and two of its own. A page that is a file may not import files beside it, so every
//! module is a `data:` URL under a plain name in an import map. What comes from the table is JSON that scripts read, and never markup.

use serde::Serialize;

use super::pictures::base64;
use crate::observe::page::ASSETS;

const HTML: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");
/// The report's own modules.
const OWN: [(&str, &str); 2] = [
    ("report.js", include_str!("report.js")),
    ("matrix.js", include_str!("matrix.js")),
];
/// Those that it has from the live page.
const SHARED: [&str; 12] = [
    "axes.js",
    "charts.js",
    "dom.js",
    "gestures.js",
    "inspector.js",
    "legend.js",
    "map.js",
    "marks.js",
    "paint.js",
    "points.js",
    "spectrum.js",
    "view.js",
];

/// The page that shows `report`.
///
/// # Errors
/// What can't be JSON.
pub fn html(report: &impl Serialize) -> serde_json::Result<String> {
    let style = [shared("page.css"), shared("map.css"), STYLE].join("\n");
    let icon = base64(shared("icon.svg").as_bytes());
    let json = serde_json::to_string(report)?;
    // Whatever a label or a key says, it can't end the element.
    let json = json.replace('<', "\\u003c");
    let frame = HTML
        .replace("{{style}}", &style)
        .replace("{{icon}}", &format!("data:image/svg+xml;base64,{icon}"))
        .replace("{{modules}}", &import_map());
    // Last, as it may hold any text.
    Ok(frame.replacen("{{data}}", &json, 1))
}

fn import_map() -> String {
    let shared = SHARED.iter().map(|name| (*name, shared(name)));
    let entries = shared.chain(OWN).map(|(name, text)| {
        // Nothing is beside a data: URL, so modules name each other plainly.
        let text = text.replace("from './", "from '");
        let url = format!("data:text/javascript;base64,{}", base64(text.as_bytes()));
        format!("\"{name}\":\"{url}\"")
    });
    let entries: Vec<String> = entries.collect();
    format!("{{\"imports\":{{{}}}}}", entries.join(","))
}

fn shared(name: &str) -> &'static str {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    let text = asset.and_then(|asset| str::from_utf8(asset.bytes).ok());
    text.unwrap_or_else(|| unreachable!("{name} is text of the live page, as a test knows"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_holds_all_that_it_names() {
        let page = html(&serde_json::json!({ "label": "</script><b>{{style}}" })).unwrap();
        assert!(page.contains(r#""label":"\u003c/script>\u003cb>{{style}}""#));
        let names: BTreeSet<&str> = SHARED.iter().copied().chain(OWN.map(|own| own.0)).collect();
        let named = regex::Regex::new(r"from '\./([^']+)'").unwrap();
        for text in SHARED
            .iter()
            .map(|name| shared(name))
            .chain(OWN.map(|own| own.1))
        {
            for import in named.captures_iter(text) {
                assert!(names.contains(&import[1]), "{}", &import[1]);
            }
        }
        let elsewhere = regex::Regex::new(r#"(?:src|href)="(?:https?:|//|[a-z]+/)"#).unwrap();
        assert_eq!(elsewhere.find(&page).map(|found| found.as_str()), None);
    }

    #[test]
    fn every_element_that_a_module_asks_for_is_there() {
        let asked = regex::Regex::new(r"byId\('([a-z-]+)'\)").unwrap();
        for text in SHARED
            .iter()
            .map(|name| shared(name))
            .chain(OWN.map(|own| own.1))
        {
            for id in asked.captures_iter(text) {
                let there = format!("id=\"{}\"", &id[1]);
                assert!(HTML.contains(&there), "{there}");
            }
        }
    }
}

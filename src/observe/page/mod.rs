//! The live page: what `/` and `/assets/NAME` answer.
//!
//! A hand-written page of ES modules, embedded as it is: nothing is built, nothing is fetched from elsewhere. `page.js` is
//! where it begins; each module opens with what it is for. The API that it reads is [`super::http`]'s.

/// One file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its name under `/assets/`.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const VECTOR: &str = "image/svg+xml";

macro_rules! asset {
    ($content_type:ident $name:literal) => {
        Asset {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!($name),
        }
    };
}

/// What `/` answers.
pub const INDEX: Asset = asset!(HTML "index.html");

/// What `/assets/NAME` answers.
pub const ASSETS: &[Asset] = &[
    asset!(STYLE "page.css"),
    asset!(STYLE "map.css"),
    asset!(VECTOR "icon.svg"),
    asset!(SCRIPT "page.js"),
    asset!(SCRIPT "accuracy.js"),
    asset!(SCRIPT "axes.js"),
    asset!(SCRIPT "charts.js"),
    asset!(SCRIPT "dom.js"),
    asset!(SCRIPT "figures.js"),
    asset!(SCRIPT "gestures.js"),
    asset!(SCRIPT "health.js"),
    asset!(SCRIPT "inspector.js"),
    asset!(SCRIPT "legend.js"),
    asset!(SCRIPT "map.js"),
    asset!(SCRIPT "marks.js"),
    asset!(SCRIPT "pace.js"),
    asset!(SCRIPT "paint.js"),
    asset!(SCRIPT "pictures.js"),
    asset!(SCRIPT "points.js"),
    asset!(SCRIPT "spectrum.js"),
    asset!(SCRIPT "stream.js"),
    asset!(SCRIPT "view.js"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn text(asset: &Asset) -> &'static str {
        std::str::from_utf8(asset.bytes).expect("the page is text")
    }

    #[test]
    fn every_file_of_the_page_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/observe/page");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "mod.rs")
            .collect();
        let embedded = ASSETS.iter().chain([&INDEX]);
        assert_eq!(there, embedded.map(|asset| asset.name.to_owned()).collect());
    }

    #[test]
    fn what_the_page_names_is_there() {
        let names: BTreeSet<&str> = ASSETS.iter().map(|asset| asset.name).collect();
        let named = regex::Regex::new(r#"(?:"assets/|from '\./)([^"']+)["']"#).unwrap();
        let mut found = 0;
        for asset in ASSETS.iter().chain([&INDEX]) {
            for capture in named.captures_iter(text(asset)) {
                assert!(
                    names.contains(&capture[1]),
                    "{}: {}",
                    asset.name,
                    &capture[1]
                );
                found += 1;
            }
        }
        assert!(found >= ASSETS.len(), "only {found} names were found");
    }

    /// The policy that the server sends forbids inline scripts and styles, and everything from elsewhere.
    #[test]
    fn the_page_needs_nothing_that_its_policy_forbids() {
        let forbidden = regex::Regex::new(
            r#"https?://|<script(?:>| [^>]*>[^<])|<style| style=|\son[a-z]+="|\beval\("#,
        )
        .unwrap();
        // The name of SVG's elements, which is no request.
        const NAMESPACE: &str = "http://www.w3.org/2000/svg";
        for asset in ASSETS.iter().chain([&INDEX]) {
            let text = text(asset).replace(NAMESPACE, "");
            let found = forbidden.find(&text).map(|found| found.as_str());
            assert_eq!(found, None, "{}", asset.name);
        }
    }
}

//! Where something lies, as a person writes it: `s3://bucket/prefix`, `file:///folder`, `/folder` or `folder`.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use url::Url;

/// A prefix of an S3 bucket, or a folder of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// `s3://bucket/prefix`
    S3 {
        /// The bucket.
        bucket: String,
        /// The key prefix without slashes at its ends; empty for the whole bucket.
        prefix: String,
    },
    /// An absolute path without `.` and `..`.
    Folder(PathBuf),
}

/// Why a text names no location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Nothing was written.
    #[error("the location is empty: write s3://bucket/prefix or a folder")]
    Empty,
    /// `gs://`, `http://`, …
    #[error("{text}: {scheme}:// is not supported; write s3://bucket/prefix or a folder")]
    Scheme {
        /// The whole text.
        text: String,
        /// What stands before `://`.
        scheme: String,
    },
    /// A bucket is missing, or has characters that no bucket has.
    #[error("{text}: «{bucket}» is no bucket name; write s3://bucket/prefix")]
    Bucket {
        /// The whole text.
        text: String,
        /// What stands in the bucket's place.
        bucket: String,
    },
    /// A part of the prefix that readers of tables disagree about.
    #[error("{text}: the part «{segment}» {why}")]
    Segment {
        /// The whole text.
        text: String,
        /// The part between two slashes.
        segment: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A `file://` URL of another machine, or a folder that can't be made absolute.
    #[error("{text}: not a folder of this machine ({why}); write file:///folder")]
    Folder {
        /// The whole text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Location {
    /// Reads a location. `s3a://` (Hadoop's name for S3) is understood as `s3://`; a relative folder
    /// starts at the current one; `.` and `..` are resolved by their text alone, not through links.
    ///
    /// # Errors
    /// [`LocationError`] says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        match text.split_once("://") {
            Some(("s3" | "s3a", rest)) => Self::parse_s3(text, rest),
            Some(("file", _)) => {
                let not_a_folder = |why: String| LocationError::Folder {
                    text: text.into(),
                    why,
                };
                let url = Url::parse(text).map_err(|error| not_a_folder(error.to_string()))?;
                let path = url
                    .to_file_path()
                    .map_err(|()| not_a_folder("it names a host".into()))?;
                Self::folder(text, &path)
            }
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
                Err(LocationError::Scheme {
                    text: text.into(),
                    scheme: scheme.into(),
                })
            }
            _ => Self::folder(text, Path::new(text)),
        }
    }

    fn parse_s3(text: &str, rest: &str) -> Result<Self, LocationError> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || !bucket.chars().all(plain) {
            return Err(LocationError::Bucket {
                text: text.into(),
                bucket: bucket.into(),
            });
        }
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() {
            for segment in prefix.split('/') {
                check_segment(text, segment)?;
            }
        }
        Ok(Self::S3 {
            bucket: bucket.into(),
            prefix: prefix.into(),
        })
    }

    fn folder(text: &str, path: &Path) -> Result<Self, LocationError> {
        let absolute = std::path::absolute(path).map_err(|error| LocationError::Folder {
            text: text.into(),
            why: error.to_string(),
        })?;
        let mut plain = PathBuf::new();
        for component in absolute.components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    plain.pop();
                }
                Component::Normal(part) => {
                    let part = part.to_str().ok_or_else(|| LocationError::Folder {
                        text: text.into(),
                        why: "its name is not UTF-8".into(),
                    })?;
                    check_segment(text, part)?;
                    plain.push(part);
                }
                Component::RootDir | Component::Prefix(_) => plain.push(component),
            }
        }
        Ok(Self::Folder(plain))
    }
}

/// Table formats carry a location as URL and as path, and escape it differently at every turn. What
/// would mean two things is refused at the door instead of becoming a table that half its readers miss.
fn check_segment(text: &str, segment: &str) -> Result<(), LocationError> {
    let why = match segment {
        "" => "is empty: there are two slashes in a row",
        "." | ".." => "has no meaning in an object store",
        _ if segment.contains(['%', '?', '#', '\\']) => {
            "has one of % ? # \\, which URL and path spell differently; choose another name"
        }
        _ if segment.chars().any(char::is_control) => "has a control character",
        _ => return Ok(()),
    };
    Err(LocationError::Segment {
        text: text.into(),
        segment: segment.into(),
        why,
    })
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(bucket: &str, prefix: &str) -> Location {
        Location::S3 {
            bucket: bucket.into(),
            prefix: prefix.into(),
        }
    }

    #[test]
    fn every_usual_spelling_is_understood() {
        let read = |text| Location::parse(text).unwrap();
        assert_eq!(read("s3://b/a/b"), s3("b", "a/b"));
        assert_eq!(read("s3a://b/a/"), s3("b", "a"));
        assert_eq!(read("s3://b"), s3("b", ""));
        assert_eq!(read("s3://b/obst & gemüse"), s3("b", "obst & gemüse"));
        assert_eq!(read("file:///a/b%20c"), Location::Folder("/a/b c".into()));
        assert_eq!(read("/a/./b/../c/"), Location::Folder("/a/c".into()));
        let here = std::env::current_dir().unwrap();
        assert_eq!(read("out/table"), Location::Folder(here.join("out/table")));
    }

    #[test]
    fn what_it_prints_it_reads_back() {
        for text in ["s3://b", "s3://b/a/é", "/a/b c"] {
            assert_eq!(Location::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn errors_name_the_part_and_the_cure() {
        for (text, part) in [
            ("", "s3://bucket/prefix"),
            ("gs://b/x", "gs://"),
            ("s3:///x", "no bucket name"),
            ("s3://bu cket/x", "bu cket"),
            ("s3://b/a//c", "two slashes"),
            ("s3://b/../c", "«..»"),
            ("s3://b/50%", "«50%»"),
            ("file://elsewhere/x", "names a host"),
        ] {
            let message = Location::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text:?} said: {message}");
        }
    }
}

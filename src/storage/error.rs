//! What can go wrong with our own objects, and whether waiting helps.

use std::io;

use super::location::LocationError;

/// A failed read or write of our own objects. Each says which object and, where there is one, the cure.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The text of a location is wrong.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// No such object.
    #[error("{object} does not exist")]
    NotFound {
        /// Where it was looked for.
        object: String,
    },
    /// Credentials are missing, wrong, or don't allow it.
    #[error(
        "{object}: access denied ({reason}); check the AWS credentials and the bucket's policy, or the folder's permissions"
    )]
    Denied {
        /// What was wanted.
        object: String,
        /// The store's words.
        reason: String,
    },
    /// The store did not answer, or asked to come back later.
    #[error("{object}: the store is unavailable ({reason}); is the endpoint right and up?")]
    Transient {
        /// What was wanted.
        object: String,
        /// The store's words.
        reason: String,
    },
    /// The store refuses the request, and always will.
    #[error("{object}: the store refuses ({reason})")]
    Refused {
        /// What was wanted.
        object: String,
        /// The store's words.
        reason: String,
    },
}

impl StorageError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }

    /// Sorts an `object_store` error that happened to `object`.
    #[must_use]
    pub fn new(object: impl Into<String>, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        let (object, reason) = (object.into(), chain(error));
        match error {
            E::NotFound { .. } => Self::NotFound { object },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                Self::Denied { object, reason }
            }
            E::Generic { source, .. } => match io_kind(source.as_ref()) {
                Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                    Self::Denied { object, reason }
                }
                Some(io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename) => {
                    Self::Refused { object, reason }
                }
                _ => Self::Transient { object, reason },
            },
            E::JoinError { .. } => Self::Transient { object, reason },
            _ => Self::Refused { object, reason },
        }
    }
}

/// The whole chain of causes in one line: an SDK's outermost error alone says «service error».
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

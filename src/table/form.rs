//! How a table shows its records: what the columns are called, and which of the optional ones it has.
//!
//! The code knows a column by its *own* name; a user may *give* it another. Such a column carries its own name as metadata, in
//! the table's schema and in every file, so that whoever opens either needs nothing else to read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Metadata, Schema};
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::schema::{MetadataValue, StructField, StructType};

use super::schema::{Record, SchemaError};

/// The metadata of a renamed column: its own name.
const OWN_NAME: &str = "eigenflow.column";

/// The shape in which records are stored. The default has every column under its own name, and no optional one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Given names by own ones: of optional columns that are there, and of renamed ones.
    given: BTreeMap<String, String>,
}

impl Form {
    /// Columns of `R` with the names that `given` gives them; an optional column is there if it has one.
    ///
    /// # Errors
    /// [`SchemaError::Form`]: no such column, a name that Parquet or Delta can't have, or one for two columns.
    pub fn new<R: Record>(
        given: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SchemaError> {
        let mut form = Form::default();
        let fields = R::fields();
        for (own, name) in given {
            if !fields.iter().any(|field| *field.name() == own) {
                return Err(SchemaError::Form(format!("there is no column {own}")));
            }
            // A dot would be a path into a nested column for Parquet and Spark.
            let plain = |c: char| c.is_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(SchemaError::Form(format!(
                    "no column can be called {name:?}: choose letters, digits and underscores"
                )));
            }
            if name != own || R::OPTIONAL.contains(&own.as_str()) {
                form.given.insert(own, name);
            }
        }
        let mut seen = BTreeSet::new();
        for field in form.fields::<R>() {
            // Spark and many others don't tell upper from lower case.
            if !seen.insert(field.name().to_lowercase()) {
                return Err(SchemaError::Form(format!(
                    "two columns would be called {:?}: choose another name for one",
                    field.name()
                )));
            }
        }
        Ok(form)
    }

    /// The form of a table with this schema.
    pub(super) fn of<R: Record>(schema: &StructType) -> Self {
        let own_name = |field: &StructField| match field.metadata().get(OWN_NAME) {
            Some(MetadataValue::String(own)) => own.clone(),
            _ => field.name().clone(),
        };
        let given = schema.fields().map(|field| (own_name(field), field.name()));
        Form {
            given: given
                .filter(|(own, name)| own != *name || R::OPTIONAL.contains(&own.as_str()))
                .map(|(own, name)| (own, name.clone()))
                .collect(),
        }
    }

    /// What the column is called; `None` for an optional one that isn't there.
    pub fn name<'a, R: Record>(&'a self, own: &'a str) -> Option<&'a str> {
        match self.given.get(own) {
            Some(name) => Some(name),
            None => (!R::OPTIONAL.contains(&own)).then_some(own),
        }
    }

    /// Whether the column is there.
    pub fn shows<R: Record>(&self, own: &str) -> bool {
        self.name::<R>(own).is_some()
    }

    /// The columns in their order: the own name, the given one, and Delta's word for the type.
    pub fn columns<R: Record>(&self) -> Vec<[String; 3]> {
        let shown = |field: StructField| {
            let own = field.name();
            let name = self.name::<R>(own)?.to_owned();
            Some([own.clone(), name, field.data_type().to_string()])
        };
        R::fields().into_iter().filter_map(shown).collect()
    }

    /// What a configuration has to say of the columns that `other` shows otherwise, to have this form.
    pub fn unlike<R: Record>(&self, other: &Form) -> String {
        let said = R::fields().into_iter().filter_map(|field| {
            let own = field.name();
            let name = self.name::<R>(own);
            // Versions come with what they are of.
            let differs = name != other.name::<R>(own) && !own.ends_with("_version");
            differs.then(|| match name {
                Some(name) => format!("{own} = \"{name}\""),
                None => format!("{own} = false"),
            })
        });
        said.collect::<Vec<_>>().join(", ")
    }

    /// Delta's fields.
    pub(super) fn fields<R: Record>(&self) -> Vec<StructField> {
        let shown = |field: StructField| {
            let name = self.name::<R>(field.name())?.to_owned();
            if name == *field.name() {
                return Some(field);
            }
            let own = [(OWN_NAME, field.name().as_str())];
            Some(StructField::new(name, field.data_type().clone(), true).with_metadata(own))
        };
        R::fields().into_iter().filter_map(shown).collect()
    }

    /// Delta's schema.
    pub(super) fn schema<R: Record>(&self) -> Result<Arc<StructType>, SchemaError> {
        Ok(Arc::new(
            StructType::try_new(self.fields::<R>())
                .map_err(|error| SchemaError::Form(error.to_string()))?,
        ))
    }

    /// A batch of own names in this form.
    pub(super) fn dress<R: Record>(&self, batch: &RecordBatch) -> Result<RecordBatch, SchemaError> {
        let schema: Schema = self.schema::<R>()?.as_ref().try_into_arrow()?;
        let arrays = schema.fields().iter().map(|field| {
            let own = own_name(field);
            batch
                .column_by_name(own)
                .cloned()
                .ok_or_else(|| SchemaError::Form(format!("the records have no column {own}")))
        });
        let arrays = arrays.collect::<Result<_, _>>()?;
        Ok(RecordBatch::try_new(Arc::new(schema), arrays)?)
    }
}

impl fmt::Display for Form {
    /// What differs from the default, as a configuration says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.given.is_empty() {
            return f.write_str("the default");
        }
        let said: Vec<String> = self
            .given
            .iter()
            .map(|(own, name)| format!("{own} = \"{name}\""))
            .collect();
        f.write_str(&said.join(", "))
    }
}

/// A batch in whatever form under its columns' own names.
pub(super) fn undress(batch: &RecordBatch) -> Result<RecordBatch, SchemaError> {
    let schema = batch.schema();
    let fields = schema.fields().iter().map(|field| {
        let plain = field.as_ref().clone().with_metadata(Metadata::default());
        plain.with_name(own_name(field))
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    Ok(RecordBatch::try_new(
        Arc::new(schema),
        batch.columns().to_vec(),
    )?)
}

/// The own name of a column in a file.
pub(super) fn own_name(field: &Field) -> &str {
    field.metadata().get(OWN_NAME).unwrap_or(field.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Row;

    fn form<const N: usize>(given: [(&str, &str); N]) -> Result<Form, SchemaError> {
        Form::new::<Row>(given.map(|(own, name)| (own.to_owned(), name.to_owned())))
    }

    #[test]
    fn a_form_is_found_again_in_its_schema() {
        let given = [("label", "category"), ("scaled_features", "scaledFeatures")];
        for form in [Form::default(), form(given).unwrap()] {
            let schema = form.schema::<Row>().unwrap();
            assert_eq!(Form::of::<Row>(&schema), form);
        }
    }

    #[test]
    fn names_that_would_be_lost_are_refused() {
        for (given, word) in [
            ([("label", "Path")], "two columns"),
            ([("labels", "category")], "no column labels"),
            ([("label", "a b")], "a b"),
            ([("path", "image.path")], "image.path"),
            ([("label", "")], "\"\""),
        ] {
            let error = form(given).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        // Two names may change places.
        form([("label", "path"), ("path", "label")]).unwrap();
    }
}

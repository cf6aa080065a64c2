//! Recomputing what a commit published: the moments of its files' rows, the models of the moments, the reduced features and
//! predicted labels of the rows.
//!
//! Every worker reads its share of the files whole, which checks every byte against the digest in the name, and sums the
//! stored features. The sums are consolidated by part over all workers, as those of an epoch are, and compared on worker 0.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use anyhow::{Result, ensure};
use differential_dataflow::{AsCollection, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::{Round, Tasks};
use crate::classifier;
use crate::job::state::JobState;
use crate::job::{Check, Digests, Findings, Opened, Verification};
use crate::moments::{Accumulator, Moments, Part, Sums, quantise};
use crate::projection::{Stored, fit};
use crate::table::Row;

/// One file is read while another is summed.
const READS_IN_FLIGHT: usize = 2;

/// The outputs of [`audit`].
pub struct Audit<'scope> {
    /// The sums of each worker's rows, by part.
    pub sums: VecCollection<'scope, Round, Part, Sums>,
    /// What each worker read.
    pub tallies: StreamVec<'scope, Round, Findings>,
}

/// Reads every object of `checks` at the worker that has it.
pub fn audit<'scope>(
    verification: Arc<Verification>,
    checks: StreamVec<'scope, Round, Check>,
) -> Audit<'scope> {
    let scope = checks.scope();
    let mut builder = OperatorBuilder::new("Audit".to_owned(), scope);
    let mut tasks: Tasks<(Findings, Option<Opened>)> = Tasks::new(
        scope.worker(),
        &builder.operator_info().address,
        &verification,
    );
    let mut checks = builder.new_input(checks, Pipeline);
    let (sums_out, sums) = builder.new_output();
    let (tallies_out, tallies) = builder.new_output();
    let mut sums_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<(Part, Round, Sums)>>>::from(sums_out);
    let mut tallies_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Findings>>>::from(tallies_out);
    builder.build(move |_| {
        let mut queue: VecDeque<Check> = VecDeque::new();
        let mut held: Option<[Capability<Round>; 2]> = None;
        let mut all = Findings::default();
        let mut recount = match Recount::new(verification.state.features) {
            Ok(recount) => Some(recount),
            Err(error) => {
                verification.failure.set(error);
                None
            }
        };
        move |frontiers| {
            checks.for_each(|time, data| {
                held.get_or_insert_with(|| [time.retain(0), time.retain(1)]);
                queue.extend(data.drain(..));
            });
            let Some(recount) = &mut recount else { return };
            // All that is there: tasks that end together wake the operator once.
            while let Some((tally, opened)) = tasks.finished() {
                all.add(tally);
                if let Some(opened) = opened {
                    recount.take_in(&opened, &mut all);
                }
            }
            while tasks.running() < READS_IN_FLIGHT
                && let Some(check) = queue.pop_front()
            {
                let verification = verification.clone();
                tasks.spawn(async move { Ok(verification.read(check).await) });
            }
            if queue.is_empty()
                && tasks.running() == 0
                && frontiers[0].is_empty()
                && let Some([sums_at, tallies_at]) = held.take()
            {
                let sums = recount.sums.drain().into_iter();
                sums_out
                    .activate()
                    .session(&sums_at)
                    .give_iterator(sums.map(|(part, sums)| (part, *sums_at.time(), sums)));
                let all = std::mem::take(&mut all);
                tallies_out.activate().session(&tallies_at).give(all);
            }
        }
    });
    Audit {
        sums: sums.as_collection(),
        tallies,
    }
}

/// One worker's sums of the rows it read.
struct Recount {
    sums: Accumulator,
    grid: Vec<i32>,
}

impl Recount {
    fn new(features: usize) -> Result<Self> {
        Ok(Recount {
            sums: Accumulator::new(features)?,
            grid: vec![0; features],
        })
    }

    /// Sums the rows of a file, and reduces them again.
    fn take_in(&mut self, opened: &Opened, tally: &mut Findings) {
        let (mut unsummed, mut unlike, mut unlabelled) = (Vec::new(), Vec::new(), Vec::new());
        let mut misplaced = Vec::new();
        let scaled = opened.form.shows::<Row>("scaled_features");
        for row in &opened.rows {
            if let Err(error) = self.sum(row) {
                unsummed.push(format!("{}: {error}", row.path));
                continue;
            }
            // A row that names no model is no less checked, but there was nothing to compute.
            let named = |version: Option<i64>| u64::from(version.is_some());
            match reduced_alike(row, &opened.projections, scaled) {
                Some(true) => tally.reduced_checked += named(row.projection_version),
                Some(false) => unlike.push(row.path.clone()),
                None => tally.reduced_unchecked += 1,
            }
            match predicted_alike(row, opened) {
                Some(true) => tally.predicted_checked += named(row.classifier_version),
                Some(false) => unlabelled.push(row.path.clone()),
                None => tally.predicted_unchecked += 1,
            }
            match placed_alike(row, opened) {
                Some(true) => tally.clusters_checked += named(row.clustering_version),
                Some(false) => misplaced.push(row.path.clone()),
                None => tally.clusters_unchecked += 1,
            }
        }
        let file = &opened.file;
        if let Some(first) = unsummed.first() {
            let count = unsummed.len();
            let what = format!("{file}: features of {count} rows can't be summed, first {first}");
            tally.incomplete = true;
            tally.differs(file, what);
        }
        for (rows, columns, made) in [
            (
                unlike,
                "reduced_features",
                "the projection they name makes of their features",
            ),
            (
                unlabelled,
                "predicted labels",
                "the classifier they name makes of their features",
            ),
            (
                misplaced,
                "clusters",
                "the clustering they name makes of their reduced features",
            ),
        ] {
            if let Some(first) = rows.first() {
                let count = rows.len();
                let what =
                    format!("{file}: {columns} of {count} rows are not what {made}, first {first}");
                tally.differs(file, what);
            }
        }
    }

    fn sum(&mut self, row: &Row) -> Result<()> {
        let (found, wanted) = (row.features.len(), self.grid.len());
        ensure!(found == wanted, "{found} features instead of {wanted}");
        quantise(&row.features, &mut self.grid)?;
        Ok(self.sums.add(&self.grid, row.label.as_deref())?)
    }
}

/// Whether the row's reduced features, and its scaled ones if the table shows them, are, bit for bit, what its projection
/// makes of its features. `None`: there is no such projection any more.
fn reduced_alike(
    row: &Row,
    projections: &BTreeMap<i64, Vec<Stored>>,
    scaled: bool,
) -> Option<bool> {
    let Some(version) = row.projection_version else {
        return Some(row.reduced_features.is_none() && row.scaled_features.is_none());
    };
    let there = projections
        .get(&version)
        .filter(|there| !there.is_empty())?;
    let bits = |x: &f32| x.to_bits();
    let alike = |found: &Option<Vec<f32>>, wanted: Option<Vec<f32>>| match (found, wanted) {
        (Some(found), Some(wanted)) => found.iter().map(bits).eq(wanted.iter().map(bits)),
        (found, wanted) => found.is_none() && wanted.is_none(),
    };
    Some(there.iter().any(|Stored { projection, .. }| {
        projection.width() == row.features.len()
            && alike(
                &row.reduced_features,
                Some(projection.reduced(&row.features)),
            )
            && alike(
                &row.scaled_features,
                scaled.then(|| projection.scaled(&row.features)),
            )
    }))
}

/// Whether the row's predicted label and its confidence, as far as the table shows them, are, bit for bit, what its classifier makes
/// of its features. `None`: there is no such classifier any more.
fn predicted_alike(row: &Row, opened: &Opened) -> Option<bool> {
    let Some(version) = row.classifier_version else {
        return Some(row.predicted_label.is_none() && row.confidence.is_none());
    };
    let there = opened.classifiers.get(&version);
    let there = there.filter(|there| !there.is_empty())?;
    let shows = |own| opened.form.shows::<Row>(own);
    let (label, confidence) = (shows("predicted_label"), shows("confidence"));
    Some(there.iter().any(|stored| {
        stored.classifier.width() == row.features.len() && {
            let wanted = stored.classifier.classify(&row.features);
            row.predicted_label.as_deref() == label.then_some(wanted.label)
                && row.confidence.map(f32::to_bits)
                    == confidence.then_some(wanted.confidence.to_bits())
        }
    }))
}

/// Whether the row's cluster is what its clustering makes of its reduced features. `None`: there is no such clustering any more.
fn placed_alike(row: &Row, opened: &Opened) -> Option<bool> {
    let Some(version) = row.clustering_version else {
        return Some(row.cluster.is_none());
    };
    let there = opened.clusterings.get(&version);
    let there = there.filter(|there| !there.is_empty())?;
    let reduced = row.reduced_features.as_deref().unwrap_or_default();
    Some(there.iter().any(|stored| {
        let clustering = &stored.clustering;
        row.projection_version == Some(stored.projection_version)
            && clustering.width() == reduced.len()
            && row.cluster == Some(clustering.nearest(reduced) as i32)
    }))
}

/// Compares the sums of all rows with what was published, at worker 0.
pub fn conclude<'scope>(
    verification: Arc<Verification>,
    sums: StreamVec<'scope, Round, (Part, Round, Sums)>,
    tallies: StreamVec<'scope, Round, Findings>,
) {
    let scope = sums.scope();
    let here = scope.index() == 0;
    let mut builder = OperatorBuilder::new("Conclude".to_owned(), scope);
    let mut sums = builder.new_input(sums, Exchange::new(|_: &(Part, Round, Sums)| 0));
    let mut tallies = builder.new_input(tallies, Exchange::new(|_: &Findings| 0));
    builder.build(move |_| {
        let mut found = here.then(|| (Vec::new(), Findings::default()));
        move |frontiers| {
            sums.for_each(|_, data| {
                if let Some((parts, _)) = &mut found {
                    parts.extend(data.drain(..).map(|(part, _, sums)| (part, sums)));
                }
            });
            tallies.for_each(|_, data| {
                if let Some((_, tally)) = &mut found {
                    data.drain(..).for_each(|part| tally.add(part));
                }
            });
            if frontiers.iter().all(|frontier| frontier.is_empty())
                && !verification.failure.is_set()
                && let Some((parts, tally)) = found.take()
                && let Err(error) = judge(&verification, parts, tally)
            {
                verification.failure.set(error);
            }
        }
    });
}

fn judge(verification: &Verification, parts: Vec<(Part, Sums)>, mut tally: Findings) -> Result<()> {
    if tally.incomplete {
        verification.conclude(tally, Digests::default());
        return Ok(());
    }
    let state = &verification.state;
    let moments = Moments::from_parts(state.features, parts)?;
    let sha256 = moments.sha256();
    let (object, published) = match &state.moments {
        Some(named) => (named.object.as_str(), named.sha256.clone()),
        None => ("moments", Moments::empty(state.features)?.sha256()),
    };
    if sha256 != published {
        let unlike = verification.moments.as_ref();
        let unlike = unlike.map_or_else(String::new, |stored| unlike_parts(stored, &moments));
        let what = format!(
            "{object}: the rows have moments of sha256 {sha256}, the commit names {published}{unlike}"
        );
        tally.differs(object, what);
    }
    let recomputed = Digests {
        moments_sha256: Some(sha256),
        projection_sha256: refit(state, &moments, &mut tally)?,
        classifier_sha256: refit_classifier(state, &moments, &mut tally),
    };
    verification.conclude(tally, recomputed);
    Ok(())
}

/// The sha256 of the projection fitted from `moments` as the published one was; none where there are too few rows.
fn refit(state: &JobState, moments: &Moments, tally: &mut Findings) -> Result<Option<String>> {
    let (rows, named) = (moments.n(), &state.projection);
    let Some(named) = named.as_ref().filter(|_| rows > 1) else {
        if named.is_some() != (rows > 1) {
            let what = format!("projection: the commit names {named:?}, there are {rows} rows");
            tally.differs("projection", what);
        }
        return Ok(None);
    };
    let sha256 = fit(moments, &named.options)?.sha256();
    compare("projection", &sha256, &named.object, &named.sha256, tally);
    Ok(Some(sha256))
}

/// Holds what was fitted again against the published model.
fn compare(model: &str, found: &str, object: &str, published: &str, tally: &mut Findings) {
    if found != published {
        let what = format!(
            "{object}: the rows' {model} has sha256 {found}, the commit names {published} (bits are equal on one kind of CPU only: was \
             this one the job's?)"
        );
        tally.differs(object, what);
    }
}

/// The sha256 of the classifier fitted from `moments` as the published one was; none where none was published.
fn refit_classifier(state: &JobState, moments: &Moments, tally: &mut Findings) -> Option<String> {
    let named = state.classifier.as_ref()?;
    let sha256 = match classifier::fit(moments, &named.options) {
        Ok(classifier) => classifier.sha256(),
        Err(error) => {
            let what = format!("{}: the rows have no classifier: {error}", named.object);
            tally.differs(&named.object, what);
            return None;
        }
    };
    compare("classifier", &sha256, &named.object, &named.sha256, tally);
    Some(sha256)
}

/// Which parts of two states differ, in words.
fn unlike_parts(stored: &Moments, recomputed: &Moments) -> String {
    const SHOWN: usize = 4;
    let stored: BTreeMap<Part, Sums> = stored.parts().collect();
    let recomputed: BTreeMap<Part, Sums> = recomputed.parts().collect();
    let all: BTreeSet<&Part> = stored.keys().chain(recomputed.keys()).collect();
    let unlike = |part: &&&Part| stored.get(**part) != recomputed.get(**part);
    let parts: Vec<String> = all
        .iter()
        .filter(unlike)
        .map(|part| format!("{part:?}"))
        .collect();
    let more = if parts.len() > SHOWN { ", …" } else { "" };
    let shown = parts[..parts.len().min(SHOWN)].join(", ");
    format!("; {} parts differ: {shown}{more}", parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Form;

    #[test]
    fn rows_that_name_no_model_are_counted_by_none() {
        let row = Row {
            path: "s3://bucket/a.png".to_owned(),
            etag: "e".to_owned(),
            width: 1,
            height: 1,
            features: vec![0.5, 1.0],
            ..Row::default()
        };
        // Without a model there may be nothing of one.
        let forged = Row {
            cluster: Some(1),
            ..row.clone()
        };
        let opened = Opened {
            file: "file".to_owned(),
            rows: vec![row, forged],
            projections: BTreeMap::new(),
            classifiers: BTreeMap::new(),
            clusterings: BTreeMap::new(),
            form: Form::default(),
        };
        let mut tally = Findings::default();
        let mut recount = Recount::new(2).expect("sums");
        recount.take_in(&opened, &mut tally);
        let counts = [
            (tally.reduced_checked, tally.reduced_unchecked),
            (tally.predicted_checked, tally.predicted_unchecked),
            (tally.clusters_checked, tally.clusters_unchecked),
        ];
        assert_eq!(counts, [(0, 0); 3]);
        assert_eq!(tally.differences.len(), 1);
    }
}

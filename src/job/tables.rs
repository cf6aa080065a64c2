//! The two tables of a job and what lies beside them.

mod garbage;

pub use garbage::Sweep;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use super::Contradiction;
use super::state::{FileList, JobState};
use crate::operators::Which;
use crate::storage::Place;
use crate::table::state::Objects;
use crate::table::{
    self, Author, Commit, DataFile, DataFiles, Form, Past, Reject, Row, Snapshot, Table,
};

/// The main table, the rejects table beside it, and the objects of the job's state.
pub struct Tables {
    /// Files of the main table.
    pub rows: DataFiles<Row>,
    /// Files of the rejects table.
    pub rejects: DataFiles<Reject>,
    /// What lies beside them.
    pub objects: Objects,
    place: Place,
    /// Only worker 0 opens the logs.
    logs: Mutex<Option<Logs>>,
}

struct Logs {
    main: Log<Row>,
    rejects: Log<Reject>,
}

/// Only worker 0 opens them, and only it asks for what needs them.
fn opened<L>(logs: Option<L>) -> Result<L> {
    logs.context("the tables' logs were not opened in this process")
}

impl Logs {
    fn state(&self, place: &Place) -> Result<Option<JobState>> {
        let json = self.main.base.job.as_deref();
        let state = json.map(JobState::parse).transpose();
        state.with_context(|| format!("{place}: the last commit's state"))
    }

    /// Carries out the rejects commit that the last commit holds written ahead.
    async fn catch_up(&mut self, place: &Place) -> Result<()> {
        match self.state(place)? {
            Some(state) => self.rejects.catch_up(&state).await,
            None => Ok(()),
        }
    }

    /// To a version of the main table, and to the rejects table as it was then: of the newest commit that is of no later epoch.
    async fn go_back(&mut self, version: u64) -> Result<()> {
        let Logs { main, rejects } = self;
        main.base = main.table.snapshot_at(Some(version)).await?;
        let state = main.base.job.as_deref().map(JobState::parse).transpose()?;
        let epoch = state.map_or(0, |state| state.epoch);
        // Epochs only grow, so the middle of what is left tells on which side it is. Version 0 is of none.
        let (mut at, mut after) = (0, rejects.base.version + 1);
        let mut found = None;
        while after - at > 1 {
            let middle = at + (after - at) / 2;
            let snapshot = rejects.table.snapshot_at(Some(middle)).await?;
            match snapshot.txn.unwrap_or(0) <= epoch {
                true => (at, found) = (middle, Some(snapshot)),
                false => after = middle,
            }
        }
        rejects.base = match found {
            Some(found) => found,
            None => rejects.table.snapshot_at(Some(0)).await?,
        };
        Ok(())
    }

    fn summary(&self) -> Summary {
        Summary {
            version: self.main.base.version,
            rows: self.main.rows(),
            rejects: self.rejects.rows(),
        }
    }
}

struct Log<R> {
    table: Table<R>,
    base: Snapshot,
}

/// The tables' contents as of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Version of the main table.
    pub version: u64,
    /// Rows of the main table.
    pub rows: u64,
    /// Rows of the rejects table.
    pub rejects: u64,
}

/// The tables as they were found.
pub struct Found {
    /// Version of the main table.
    pub version: u64,
    /// What the last commit said, if a job ever committed.
    pub state: Option<JobState>,
    /// Files of the main table.
    pub rows: Vec<DataFile>,
    /// Files of the rejects table.
    pub rejects: Vec<DataFile>,
}

impl Tables {
    /// The tables at `place` and beside it; a main table that is yet to be made, and its new files, are of this form.
    /// Nothing is read yet.
    pub fn at(place: Place, form: Form) -> Result<Self> {
        Ok(Tables {
            rows: DataFiles::new(place.clone(), form),
            rejects: DataFiles::new(place.beside("rejects")?, Form::default()),
            objects: Objects::beside(&place)?,
            place,
            logs: Mutex::new(None),
        })
    }

    /// Where the main table lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Opens the logs for a job: creates what isn't there, and carries out a rejects commit that a crash left undone.
    pub async fn open(&self) -> Result<Found> {
        let rejects = self.place.beside("rejects")?;
        let main = match Log::open(self.place.clone()).await? {
            Some(main) => main,
            None => self.first(&rejects).await?,
        };
        let rejects = Log::open_or_create(rejects, self.rejects.form()).await?;
        if main.base.form != *self.rows.form() {
            bail!(Contradiction(format!(
                "the columns of {} are otherwise than `[columns]` has them: say there {}, or choose another table.uri and replay \
                 the bucket",
                self.place,
                main.base.form.unlike::<Row>(self.rows.form())
            )));
        }
        let mut logs = Logs { main, rejects };
        logs.catch_up(&self.place).await?;
        self.found(logs).await
    }

    /// The main table where none was found, if no other's `rejects` are beside it.
    async fn first(&self, rejects: &Place) -> Result<Log<Row>> {
        // A process of the same job may be faster: it makes the main table first, which is then there if the rejects are.
        let taken = Log::<Reject>::open(rejects.clone()).await?.is_some();
        match Log::open(self.place.clone()).await? {
            Some(main) => Ok(main),
            None if taken => bail!(Contradiction(format!(
                "{rejects} belongs to another table, whose state lies beside it: give {} a folder of its own, such as {}table",
                self.place, self.place
            ))),
            None => Log::create(self.place.clone(), self.rows.form()).await,
        }
    }

    /// Opens the logs of tables that must be there, and changes nothing: a job may be at work on them. Rejects that are
    /// yet to be committed are found as if they were.
    pub async fn open_existing(&mut self) -> Result<Found> {
        self.open_existing_at(None).await
    }

    /// As [`open_existing`](Self::open_existing), as of this version of the main table; `None`: the newest. No commit can follow an older one.
    pub async fn open_existing_at(&mut self, version: Option<u64>) -> Result<Found> {
        let mut logs = self.existing().await?;
        if let Some(version) = version.filter(|version| *version != logs.main.base.version) {
            logs.go_back(version).await.with_context(|| {
                format!("{}: there is no version {version} (any more)", self.place)
            })?;
            let form = logs.main.base.form.clone();
            self.rows = DataFiles::new(self.place.clone(), form);
        }
        self.found(logs).await
    }

    /// Opens the logs of tables that must be there for a command, which its commits will name as their author. A rejects
    /// commit that a crash left undone is carried out.
    pub async fn open_to_rewrite(&mut self, author: Author) -> Result<Found> {
        let Logs { main, rejects } = self.existing().await?;
        let mut logs = Logs {
            main: main.written_by(author),
            rejects: rejects.written_by(author),
        };
        logs.catch_up(&self.place).await?;
        self.found(logs).await
    }

    /// The logs of tables that must be there; new files will be of the form that they have.
    async fn existing(&mut self) -> Result<Logs> {
        let missing = || {
            format!(
                "{} holds no table; check the address, or run a job that makes one",
                self.place
            )
        };
        let main = Log::<Row>::open(self.place.clone()).await?;
        let rejects = Log::<Reject>::open(self.place.beside("rejects")?).await?;
        let (main, rejects) = (main.with_context(missing)?, rejects.with_context(missing)?);
        self.rows = DataFiles::new(self.place.clone(), main.base.form.clone());
        Ok(Logs { main, rejects })
    }

    async fn found(&self, logs: Logs) -> Result<Found> {
        let state = logs.state(&self.place)?;
        let mut rejects = logs.rejects.base.files.clone();
        if let Some(pending) = state.as_ref().and_then(|state| logs.rejects.pending(state)) {
            rejects.retain(|file| !pending.removes.contains(&file.name));
            rejects.extend(pending.adds.clone());
        }
        let found = Found {
            version: logs.main.base.version,
            state,
            rows: logs.main.base.files.clone(),
            rejects,
        };
        *self.logs.lock().await = Some(logs);
        Ok(found)
    }

    /// Makes an epoch true: the main table's commit, then the rejects table's, which the first one holds written ahead.
    pub async fn commit(&self, state: &JobState, main: FileList) -> Result<Summary> {
        let mut logs = self.logs.lock().await;
        let logs = opened(logs.as_mut())?;
        let json = serde_json::to_string(state)?;
        logs.main.commit(state.epoch, main, json).await?;
        logs.rejects.catch_up(state).await?;
        Ok(logs.summary())
    }

    /// What the tables hold as of the last commit of this process.
    pub async fn summary(&self) -> Result<Summary> {
        let logs = self.logs.lock().await;
        let logs = opened(logs.as_ref())?;
        Ok(logs.summary())
    }

    /// The last commit, and the main table's files as of it; `None` before a job has committed.
    pub async fn committed(&self) -> Result<Option<(JobState, Vec<DataFile>)>> {
        let logs = self.logs.lock().await;
        let base = &opened(logs.as_ref())?.main.base;
        let Some(json) = &base.job else {
            return Ok(None);
        };
        Ok(Some((JobState::parse(json)?, base.files.clone())))
    }

    /// The last `count` commits of jobs up to the version that was opened, oldest first: when each was made, and what it says.
    pub async fn history(&self, count: usize) -> Result<Vec<(DateTime<Utc>, JobState)>> {
        // Commits go on meanwhile.
        let (table, version) = {
            let logs = self.logs.lock().await;
            let main = &opened(logs.as_ref())?.main;
            (main.table.clone(), main.base.version)
        };
        let past = table.history(version, count).await?;
        let state = |past: Past| Ok((past.at, JobState::parse(&past.job)?));
        past.into_iter().map(state).collect()
    }

    /// The key columns of a file.
    pub async fn read_keys(&self, which: Which, file: &DataFile) -> Result<Vec<table::KeyRow>> {
        Ok(match which {
            Which::Main => self.rows.read_keys(file).await?,
            Which::Rejects => self.rejects.read_keys(file).await?,
        })
    }
}

impl<R: table::Record> Log<R> {
    async fn open(place: Place) -> Result<Option<Self>> {
        match Table::open(place).await? {
            Some(table) => Ok(Some(Log {
                base: table.snapshot().await?,
                table,
            })),
            None => Ok(None),
        }
    }

    async fn open_or_create(place: Place, form: &Form) -> Result<Self> {
        match Self::open(place.clone()).await? {
            Some(log) => Ok(log),
            None => Self::create(place, form).await,
        }
    }

    async fn create(place: Place, form: &Form) -> Result<Self> {
        let table = Table::create(place, form).await?;
        Ok(Log {
            base: table.snapshot().await?,
            table,
        })
    }

    fn written_by(self, author: Author) -> Self {
        Log {
            table: self.table.written_by(author),
            ..self
        }
    }

    async fn commit(&mut self, epoch: i64, files: FileList, job: String) -> Result<()> {
        let commit = Commit {
            adds: files.adds,
            removes: files.removes,
            epoch,
            job,
        };
        self.base = self.table.commit(&self.base, commit).await?;
        Ok(())
    }

    fn rows(&self) -> u64 {
        self.base.files.iter().map(|file| file.rows).sum()
    }
}

impl Log<Reject> {
    /// The commit that `state` holds written ahead, unless it was carried out, or is nothing.
    fn pending<'a>(&self, state: &'a JobState) -> Option<&'a FileList> {
        let files = &state.rejects_commit;
        let done = self.base.txn.unwrap_or(0) >= state.epoch;
        (!done && *files != FileList::default()).then_some(files)
    }

    /// Carries it out.
    async fn catch_up(&mut self, state: &JobState) -> Result<()> {
        match self.pending(state) {
            Some(files) => {
                let files = files.clone();
                let Err(lost) = self.commit(state.epoch, files, String::new()).await else {
                    return Ok(());
                };
                // A reproject that found it written ahead may have carried it out.
                self.base = self.table.snapshot().await?;
                self.pending(state).map_or(Ok(()), |_| Err(lost))
            }
            None => Ok(()),
        }
    }
}

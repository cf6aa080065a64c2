//! The table by its promises, on a local folder and on an S3 server.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::real::real_s3;
use crate::support::{BUCKET, EmbeddedS3};
use async_trait::async_trait;
use eigenflow::storage::{Location, Patience, Place, S3Config, S3Store};
use eigenflow::table::state::Objects;
use eigenflow::table::{
    Author, Commit, CommitError, DataFile, DataFiles, Form, Reject, Row, Snapshot, Table, vacuum,
};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::*;
use url::Url;

fn row(name: &str, x: f32) -> Row {
    Row {
        path: format!("s3://landing/{name}"),
        label: Some("Apple".into()),
        etag: "e".into(),
        event_time_ms: 1_700_000_000_000,
        version: "v".into(),
        width: 10,
        height: 20,
        features: vec![x; 16],
        ..Row::default()
    }
}

fn files(table: &Table<Row>) -> DataFiles<Row> {
    DataFiles::new(table.place().clone(), Form::default())
}

async fn local() -> (tempfile::TempDir, Place) {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::Folder(folder.path().canonicalize().unwrap().join("out é 1/table"));
    let place = Place::open(&location, &S3Config::default(), Patience::default())
        .await
        .unwrap();
    (folder, place)
}

async fn embedded() -> (tempfile::TempDir, EmbeddedS3, Place) {
    let folder = tempfile::tempdir().unwrap();
    let server = EmbeddedS3::start(folder.path()).await;
    let place = on_s3(S3Store::new(server.client(), BUCKET), BUCKET);
    (folder, server, place)
}

fn on_s3(store: impl ObjectStore, bucket: &str) -> Place {
    let url = Url::parse(&format!("s3://{bucket}/"))
        .unwrap()
        .join("out é 1/table/")
        .unwrap();
    Place::new(Arc::new(store), url, Patience::default()).unwrap()
}

fn adding(files: &[&DataFile], epoch: i64) -> Commit {
    Commit {
        adds: files.iter().map(|file| (*file).clone()).collect(),
        removes: vec![],
        epoch,
        job: format!("{{\"epoch\":{epoch}, \"odd\":\"\\\" é \\n\"}}"),
    }
}

async fn live_rows(table: &Table<Row>, snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for file in &snapshot.files {
        rows.extend(files(table).read(file).await.unwrap());
    }
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    rows
}

fn assert_same(one: &Snapshot, other: &Snapshot) {
    let content = |snapshot: &Snapshot| {
        let mut files = snapshot.files.clone();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let files: Vec<_> = files
            .into_iter()
            .map(|file| (file.name, file.bytes, file.rows))
            .collect();
        (snapshot.version, snapshot.txn, snapshot.job.clone(), files)
    };
    assert_eq!(content(one), content(other));
}

// ---- the life of a table ----

async fn a_table_lives(place: Place) {
    assert!(Table::<Row>::open(place.clone()).await.unwrap().is_none());
    let table = Table::<Row>::create(place.clone(), &Form::default())
        .await
        .unwrap();
    let empty = table.snapshot().await.unwrap();
    assert_eq!((empty.version, empty.txn, &empty.job), (0, None, &None));
    assert!(empty.files.is_empty());

    let files = files(&table);
    let first = files
        .write(vec![row("a", 1.0), row("b", 2.0)])
        .await
        .unwrap();
    let second = files.write(vec![row("c", 3.0)]).await.unwrap();
    let one = table
        .commit(&empty, adding(&[&first, &second], 1))
        .await
        .unwrap();
    assert_same(&one, &table.snapshot().await.unwrap());
    assert_eq!(
        live_rows(&table, &one).await,
        [row("a", 1.0), row("b", 2.0), row("c", 3.0)]
    );

    // b is deleted: its file is replaced by one without it.
    let rest = files.write(vec![row("a", 1.0)]).await.unwrap();
    let replace = Commit {
        removes: vec![first.name.clone()],
        ..adding(&[&rest], 2)
    };
    let two = table.commit(&one, replace).await.unwrap();
    let reopened = Table::<Row>::open(place.clone()).await.unwrap().unwrap();
    let read = reopened.snapshot().await.unwrap();
    assert_same(&two, &read);
    assert_eq!(
        live_rows(&reopened, &read).await,
        [row("a", 1.0), row("c", 3.0)]
    );

    // Offsets may move while no row changes; a removed name can't be removed again.
    let three = reopened.commit(&read, adding(&[], 3)).await.unwrap();
    assert_eq!((three.version, three.files.len()), (3, 2));
    let again = Commit {
        removes: vec![first.name.clone()],
        ..adding(&[], 4)
    };
    let error = reopened.commit(&three, again).await.unwrap_err();
    assert!(matches!(error, CommitError::NotInBase { .. }), "{error}");
    assert_same(&three, &table.snapshot().await.unwrap());

    // The rejects lie beside it, by the same code; neither table is taken for the other.
    let rejects = Table::<Reject>::create(place.beside("rejects").unwrap(), &Form::default())
        .await
        .unwrap();
    assert!(rejects.snapshot().await.unwrap().files.is_empty());
    let other = Table::<Row>::open(rejects.place().clone())
        .await
        .unwrap()
        .unwrap();
    let error = other.snapshot().await.unwrap_err().to_string();
    assert!(error.contains("no column label"), "{error}");

    // Creating what is there opens it.
    let same = Table::<Row>::create(place, &Form::default()).await.unwrap();
    assert_same(&three, &same.snapshot().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_lives_in_a_folder() {
    let (_folder, place) = local().await;
    a_table_lives(place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_lives_on_embedded_s3() {
    let (_folder, _server, place) = embedded().await;
    a_table_lives(place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_lives_on_a_real_s3() {
    if let Some((client, bucket)) = real_s3().await {
        a_table_lives(on_s3(S3Store::new(client.clone(), &bucket), &bucket)).await;
        one_committer_wins(
            on_s3(S3Store::new(client, &bucket), &bucket)
                .inside("race")
                .unwrap(),
        )
        .await;
    }
}

// ---- fencing ----

async fn one_committer_wins(place: Place) {
    let table = Table::<Row>::create(place.clone(), &Form::default())
        .await
        .unwrap();
    let mut base = table.snapshot().await.unwrap();
    for round in 1..=3 {
        let mut rivals = Vec::new();
        for _ in 0..8 {
            let rival = Table::<Row>::open(place.clone()).await.unwrap().unwrap();
            let base = rival.snapshot().await.unwrap();
            rivals.push((rival, base));
        }
        let rivals: Vec<_> = rivals
            .into_iter()
            .map(|(rival, base)| {
                tokio::spawn(async move { rival.commit(&base, adding(&[], round)).await })
            })
            .collect();
        let mut winners = 0;
        for rival in rivals {
            match rival.await.unwrap() {
                Ok(snapshot) => {
                    winners += 1;
                    base = snapshot;
                }
                Err(CommitError::Fenced { version, by, .. }) => {
                    assert_eq!(version, round as u64);
                    assert!(
                        by.contains("writer") && by.contains(&format!("epoch {round}")),
                        "{by}"
                    );
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((winners, base.version), (1, round as u64));
    }
    assert_same(&base, &table.snapshot().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loser_learns_whether_it_lost_to_a_job_or_to_a_reproject() {
    let (_folder, place) = local().await;
    let job = Table::<Row>::create(place.clone(), &Form::default())
        .await
        .unwrap();
    let reproject = Table::<Row>::open(place).await.unwrap().unwrap();
    let reproject = reproject.written_by(Author::Reproject);
    let base = job.snapshot().await.unwrap();
    let first = reproject.commit(&base, adding(&[], 1)).await.unwrap();
    let error = job.commit(&base, adding(&[], 1)).await.unwrap_err();
    assert!(
        matches!(error, CommitError::Overtaken { version: 1, .. }),
        "{error}"
    );
    job.commit(&first, adding(&[], 2)).await.unwrap();
    let error = reproject.commit(&first, adding(&[], 1)).await.unwrap_err();
    assert!(
        matches!(error, CommitError::Fenced { version: 2, .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_when_a_job_began_is_no_rivals_commit() {
    let (_folder, place) = local().await;
    let before = Table::<Row>::create(place.clone(), &Form::default())
        .await
        .unwrap();
    let first = before.snapshot().await.unwrap();
    let first = before.commit(&first, adding(&[], 1)).await.unwrap();
    let after = Table::<Row>::open(place).await.unwrap().unwrap();
    let begun = after.snapshot().await.unwrap();
    let second = before.commit(&first, adding(&[], 2)).await.unwrap();
    let error = after.commit(&begun, adding(&[], 2)).await.unwrap_err();
    assert!(
        matches!(error, CommitError::Late { version: 2, .. }),
        "{error}"
    );
    // Where it goes on from there, the other is its rival.
    after.commit(&second, adding(&[], 3)).await.unwrap();
    let error = before.commit(&second, adding(&[], 3)).await.unwrap_err();
    assert!(
        matches!(error, CommitError::Fenced { version: 3, .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_behind_a_symbolic_link_is_written_as_any_other() {
    let (folder, place) = local().await;
    let link = folder.path().canonicalize().unwrap().join("link");
    let real = place.url().to_file_path().unwrap();
    std::fs::create_dir_all(real.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(real.parent().unwrap(), &link).unwrap();
    let linked = Location::Folder(link.join("table"));
    let linked = Place::open(&linked, &S3Config::default(), Patience::default())
        .await
        .unwrap();
    let table = Table::<Row>::create(linked, &Form::default())
        .await
        .unwrap();
    let empty = table.snapshot().await.unwrap();
    let file = files(&table).write(vec![row("a", 1.0)]).await.unwrap();
    let one = table.commit(&empty, adding(&[&file], 1)).await.unwrap();
    let direct = Table::<Row>::open(place).await.unwrap().unwrap();
    assert_same(&one, &direct.snapshot().await.unwrap());
    assert_eq!(live_rows(&direct, &one).await, [row("a", 1.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_committers_one_wins_in_a_folder() {
    let (_folder, place) = local().await;
    one_committer_wins(place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_committers_one_wins_on_s3() {
    let (_folder, _server, place) = embedded().await;
    one_committer_wins(place).await;
}

// ---- a store that stumbles ----

/// What happens to the next writes of commits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stumble {
    /// It is written, and the answer is «exists already», as after a retried request.
    LostAnswer,
    /// It is written, and the answer is an error.
    WrittenThenError,
    /// Nothing is written.
    Error,
}

#[derive(Debug)]
struct Stumbling {
    inner: Arc<dyn ObjectStore>,
    how: Stumble,
    times: AtomicUsize,
}

impl fmt::Display for Stumbling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stumbling {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Stumbling {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let error = || Error::Generic {
            store: "test",
            source: "injected".into(),
        };
        let commit = at.as_ref().ends_with(".json") && !at.as_ref().ends_with("00.json");
        let one_less = |n: usize| n.checked_sub(1);
        if !commit
            || self
                .times
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_err()
        {
            return self.inner.put_opts(at, payload, options).await;
        }
        if self.how != Stumble::Error {
            self.inner.put_opts(at, payload, options).await?;
        }
        match self.how {
            Stumble::LostAnswer => Err(Error::AlreadyExists {
                path: at.to_string(),
                source: "injected".into(),
            }),
            Stumble::WrittenThenError | Stumble::Error => Err(error()),
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        o: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, o).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A table whose commits stumble so many times, in a store that others reach without stumbling.
async fn stumbling(how: Stumble, times: usize, limit: Duration) -> (Table<Row>, Table<Row>) {
    let inner: Arc<dyn ObjectStore> = Arc::new(memory::InMemory::new());
    let url = Url::parse("memory:///table/").unwrap();
    let sound = Place::new(Arc::clone(&inner), url.clone(), Patience::default()).unwrap();
    let sound = Table::create(sound, &Form::default()).await.unwrap();
    let store = Stumbling {
        inner,
        how,
        times: times.into(),
    };
    let patience = Patience {
        limit,
        ..Patience::default()
    };
    let place = Place::new(Arc::new(store), url, patience).unwrap();
    (Table::open(place).await.unwrap().unwrap(), sound)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_survives_lost_answers_and_errors() {
    for (how, times) in [
        (Stumble::LostAnswer, 1),
        (Stumble::WrittenThenError, 1),
        (Stumble::Error, 3),
    ] {
        let (table, sound) = stumbling(how, times, Duration::from_secs(60)).await;
        let file = files(&table).write(vec![row("a", 1.0)]).await.unwrap();
        let base = table.snapshot().await.unwrap();
        let one = table.commit(&base, adding(&[&file], 7)).await.unwrap();
        assert_eq!((one.version, one.txn), (1, Some(7)), "{how:?}");
        assert_same(&one, &sound.snapshot().await.unwrap());
        // What came of it can be built upon.
        let two = table.commit(&one, adding(&[], 8)).await.unwrap();
        assert_same(&two, &sound.snapshot().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_not_taken_for_ours_when_a_rival_won() {
    let (table, sound) = stumbling(Stumble::Error, 1, Duration::from_secs(60)).await;
    let base = table.snapshot().await.unwrap();
    // The same epoch, by another writer.
    sound
        .commit(&sound.snapshot().await.unwrap(), adding(&[], 1))
        .await
        .unwrap();
    let error = table.commit(&base, adding(&[], 1)).await.unwrap_err();
    assert!(
        matches!(error, CommitError::Fenced { version: 1, .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_down_leaves_the_commit_unknown() {
    let (table, sound) = stumbling(Stumble::Error, usize::MAX, Duration::from_millis(300)).await;
    let base = table.snapshot().await.unwrap();
    let error = table.commit(&base, adding(&[], 1)).await.unwrap_err();
    assert!(
        matches!(error, CommitError::Unknown { version: 1, .. }),
        "{error}"
    );
    assert_eq!(sound.snapshot().await.unwrap().version, 0);
}

// ---- many commits ----

async fn many_commits_open_fast(place: Place, commits: i64) -> (Duration, Duration) {
    let table = Table::<Row>::create(place.clone(), &Form::default())
        .await
        .unwrap();
    let mut snapshot = table.snapshot().await.unwrap();
    let start = Instant::now();
    let mut last: Option<DataFile> = None;
    for epoch in 1..=commits {
        let file = files(&table)
            .write(vec![row("a", epoch as f32)])
            .await
            .unwrap();
        let removes = last
            .replace(file.clone())
            .map(|file| file.name)
            .into_iter()
            .collect();
        let commit = Commit {
            removes,
            ..adding(&[&file], epoch)
        };
        snapshot = table.commit(&snapshot, commit).await.unwrap();
    }
    let each = start.elapsed() / commits as u32;
    let start = Instant::now();
    let table = Table::<Row>::open(place.clone()).await.unwrap().unwrap();
    let read = table.snapshot().await.unwrap();
    let opening = start.elapsed();
    assert_same(&snapshot, &read);
    assert_eq!(live_rows(&table, &read).await, [row("a", commits as f32)]);
    let checkpoint = place.get("_delta_log/_last_checkpoint").await.unwrap();
    let newest = format!("\"version\":{}", commits / 100 * 100);
    assert!(String::from_utf8_lossy(&checkpoint).contains(&newest));
    (each, opening)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_300_commits_a_folder_opens_from_its_checkpoint() {
    let (_folder, place) = local().await;
    let (each, opening) = many_commits_open_fast(place, 305).await;
    eprintln!("folder: {each:?} a commit, opened in {opening:?}");
    assert!(opening < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_300_commits_s3_opens_from_its_checkpoint_with_few_requests() {
    let (_folder, server, place) = embedded().await;
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    server.set_fault(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        None
    });
    let (each, opening) = many_commits_open_fast(place.clone(), 305).await;
    let writing = requests.swap(0, Ordering::Relaxed);
    Table::<Row>::open(place)
        .await
        .unwrap()
        .unwrap()
        .snapshot()
        .await
        .unwrap();
    let reading = requests.load(Ordering::Relaxed);
    eprintln!(
        "S3: {each:?} a commit, opened in {opening:?}; {writing} requests to write 305 commits, {reading} to open"
    );
    assert!(writing < 305 * 4, "{writing} requests");
    assert!(reading < 60, "{reading} requests");
}

// ---- keys ----

#[tokio::test(flavor = "multi_thread")]
async fn keys_take_two_requests_and_those_of_a_small_file_one() {
    let (_folder, server, place) = embedded().await;
    let files = DataFiles::new(place, Form::default());
    for (rows, expected) in [(10, 1), (10_000, 2)] {
        let rows = (0..rows).map(|i| Row {
            features: (0..64).map(|j| ((i * 64 + j) as f32).sin()).collect(),
            ..row(&format!("{i:06}.jpg"), 0.0)
        });
        let file = files.write(rows.collect()).await.unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        server.set_fault(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            None
        });
        let keys = files.read_keys(&file).await.unwrap();
        assert_eq!(keys.len() as u64, file.rows);
        assert_eq!(requests.load(Ordering::Relaxed), expected);
    }
}

// ---- vacuum ----

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_deletes_only_what_no_retained_version_names() {
    let (_folder, place) = local().await;
    let table = Table::<Row>::create(place.clone(), &Form::default())
        .await
        .unwrap();
    let empty = table.snapshot().await.unwrap();
    let (live, gone) = (row("live", 1.0), row("gone", 2.0));
    let live = files(&table).write(vec![live]).await.unwrap();
    let gone = files(&table).write(vec![gone]).await.unwrap();
    let never = files(&table).write(vec![row("never", 3.0)]).await.unwrap();
    let one = table
        .commit(&empty, adding(&[&live, &gone], 1))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let remove = Commit {
        removes: vec![gone.name.clone()],
        ..adding(&[], 2)
    };
    let since = Instant::now();
    let two = table.commit(&one, remove).await.unwrap();
    let garbage = async |older_than: Duration| {
        let retained = table.retained(&two, older_than).await.unwrap();
        let named = |name: &str| retained.files.contains_key(name);
        let swept = retained.sweep(table.place(), vacuum::is_data_file, named);
        swept.await.unwrap().garbage
    };
    let unnamed = async |older_than| -> BTreeSet<_> {
        let garbage = garbage(older_than).await;
        garbage.into_iter().map(|object| object.name).collect()
    };

    // Everything is younger than an hour.
    assert_eq!(unnamed(Duration::from_secs(3600)).await, [].into());
    // A reader may have opened version 1 a moment ago, and that names `gone`.
    let moment = since.elapsed() + Duration::from_millis(700);
    assert_eq!(unnamed(moment).await, [never.name.clone()].into());
    assert_eq!(
        unnamed(Duration::ZERO).await,
        [never.name.clone(), gone.name.clone()].into()
    );

    vacuum::delete(table.place(), &garbage(Duration::ZERO).await)
        .await
        .unwrap();
    assert_eq!(live_rows(&table, &two).await, [row("live", 1.0)]);
    assert_eq!(unnamed(Duration::ZERO).await, [].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_keeps_the_objects_that_a_retained_job_names() {
    let (_folder, place) = local().await;
    let table = Table::<Row>::create(place.clone(), &Form::default())
        .await
        .unwrap();
    let objects = Objects::beside(&place).unwrap();
    let mut snapshot = table.snapshot().await.unwrap();
    let mut names = Vec::new();
    for epoch in 1..=3 {
        let bytes = format!("state {epoch}").into();
        names.push(objects.put("state", epoch, "parquet", bytes).await.unwrap());
        let commit = Commit {
            job: names[names.len() - 1].clone(),
            ..adding(&[], epoch)
        };
        snapshot = table.commit(&snapshot, commit).await.unwrap();
    }
    let state = place.beside("state").unwrap();
    let unnamed = async |older_than| {
        let retained = table.retained(&snapshot, older_than).await.unwrap();
        let named = |name: &str| retained.jobs.contains(&format!("state/{name}"));
        let swept = retained.sweep(&state, |_| true, named);
        swept.await.unwrap().garbage
    };
    assert_eq!(unnamed(Duration::from_secs(60)).await, []);
    let garbage = unnamed(Duration::ZERO).await;
    let found: BTreeSet<_> = garbage
        .iter()
        .map(|object| format!("state/{}", object.name))
        .collect();
    assert_eq!(found, names[..2].iter().cloned().collect());
    vacuum::delete(&state, &garbage).await.unwrap();
    assert_eq!(objects.get(&names[2]).await.unwrap(), "state 3");
    assert!(objects.get(&names[0]).await.is_err());
}

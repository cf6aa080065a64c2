//! `eigenflow demo`: the whole job on one machine, with nothing installed.
//!
//! It starts a Kafka broker and an S3 server inside this process, uploads pictures, sends their events, and runs the very
//! job that production runs, over TCP and with the same clients.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::{Handle, Runtime};
use tokio::task::spawn_blocking;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::listen::Listen;
use super::{Failure, free_addresses, log, runtime};
use crate::backbone::weights::{self, Source};
use crate::config::{self, Backbone, Config, Log, LogFormat, Weights, keys};
use crate::embedded::{EmbeddedKafka, EmbeddedS3};
use crate::job::{self, Job, Layout, Options};
use crate::storage::{Credentials, Location};

mod settings;
mod summary;
mod uploads;

use settings::Settings;
use summary::Summary;
use uploads::Pictures;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// A folder of images, whose subfolders are the labels; without it the demo renders its own pictures
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// A job's file: its network, columns, selection, labels and projection, on the demo's own servers
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where buckets and table go; the table is DIR/eigenflow/table. Without it a folder in the system's temp
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Worker threads of each process; without it as many as there are cores for one process, one for several
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Processes, which are really spawned
    #[arg(long, default_value_t = 1, value_name = "N")]
    processes: usize,
    /// The network: pixels, resnet18, resnet34, resnet50 (the default), resnet101, resnet152, mobilenet_v2, vgg16
    #[arg(long, value_name = "NAME")]
    backbone: Option<String>,
    /// Its weights, if not its pretrained ones: a .safetensors file, or random:SEED
    #[arg(long, value_name = "WEIGHTS")]
    weights: Option<String>,
    /// Arithmetic of the convolutions: f32 (the default), bf16 or int8
    #[arg(long, value_name = "PRECISION")]
    precision: Option<String>,
    /// Principal components, by number (50 by default) or by the share of variance they explain
    #[arg(long, value_name = "K")]
    components: Option<String>,
    /// Images at most, taken evenly from all that are selected
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Rounds that may be unfinished, if not the job's own limits.rounds_in_flight
    #[arg(long, value_name = "N")]
    rounds_in_flight: Option<String>,
    /// Afterwards go on serving and reading events until Ctrl-C
    #[arg(long)]
    keep_serving: bool,
    /// Print the summary as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    listen: Listen,
}

const BUCKET: &str = "landing";
const TABLE_BUCKET: &str = "eigenflow";
/// The embedded store's own folder in the output folder.
const STORE: &str = ".s3";
/// How often it is looked how far the job is.
const WATCH: Duration = Duration::from_millis(100);
const TOPIC: &str = "uploads";
/// More than an event of the demo has, its key included.
const EVENT_BYTES: usize = 1024;
const CREDENTIALS: (&str, &str) = ("demo", "demo-secret");

impl Demo {
    pub fn run(self) -> Result<ExitCode, Failure> {
        log::start(&Log {
            format: LogFormat::Human,
            filter: Targets::new().with_default(LevelFilter::WARN),
        });
        let runtime = runtime()?;
        let (pictures, most) = self.asked(&runtime)?;
        let out = self.prepare_out().map_err(Failure::Usage)?;
        let credentials = Credentials {
            access_key: CREDENTIALS.0.into(),
            secret_key: CREDENTIALS.1.into(),
        };
        let s3 = EmbeddedS3::start(&out.join(STORE), &credentials).map_err(anyhow::Error::from)?;
        let kafka = EmbeddedKafka::start(
            TOPIC,
            EmbeddedKafka::partitions_for(most, most * EVENT_BYTES),
        )
        .map_err(anyhow::Error::from)?;
        let settings = Settings::new(&self, s3.endpoint(), kafka.brokers(), most);
        let config = settings.config()?;

        let bar = bar("uploading", pictures.len() as u64);
        let start = Instant::now();
        let uploads = async {
            let total = pictures.upload(&config, &credentials, &bar).await?;
            bar.finish_and_clear();
            Ok((total, start.elapsed()))
        };
        // The weights come meanwhile.
        let (total, elapsed) = runtime.block_on(async {
            let (uploaded, ()) = tokio::try_join!(uploads, bring_weights(&config.backbone, &bar))?;
            anyhow::Ok(uploaded)
        })?;
        println!(
            "{total} images uploaded and announced in {:.1} s",
            elapsed.as_secs_f64()
        );

        let servers = format!(
            "\nserving until Ctrl-C: S3 {} (key {}, secret {}), Kafka {}, topic {TOPIC}, bucket {BUCKET}",
            s3.endpoint(),
            CREDENTIALS.0,
            CREDENTIALS.1,
            kafka.brokers()
        );
        let told = Arc::new(Told {
            runtime: runtime.handle().clone(),
            start: Instant::now(),
            out: out.clone(),
            total,
            json: self.json,
            servers: self.keep_serving.then_some(servers),
        });
        let job = self.work(&runtime, config, &settings, &credentials, &told)?;
        if !self.keep_serving {
            told.summary(&job)?;
        }
        s3.shutdown().context("the embedded S3 server")?;
        Ok(ExitCode::SUCCESS)
    }

    /// The pictures that the job is to take, and how many there are at most before it selects.
    ///
    /// # Errors
    /// All that can be asked wrongly, before anything is made: the corrected command finds `--out` as this one did.
    fn asked(&self, runtime: &Runtime) -> Result<(Pictures, usize), Failure> {
        if self.processes == 0 || self.workers == Some(0) {
            return Err(Failure::Usage(anyhow!(
                "--workers and --processes must be at least 1"
            )));
        }
        let pictures = runtime
            .block_on(Pictures::new(self.images.as_deref()))
            .map_err(Failure::Usage)?;
        let most = pictures.most(self.limit);
        // There are no servers yet; nothing that is checked depends on where they are.
        let config =
            Settings::new(self, "http://127.0.0.1:9000", "127.0.0.1:9092", most).config()?;
        job::form(&config.columns).map_err(anyhow::Error::from)?;
        let chosen = pictures.chosen(&config, self.limit);
        Ok((chosen.map_err(Failure::Usage)?, most))
    }

    fn prepare_out(&self) -> Result<PathBuf> {
        let out = match &self.out {
            Some(out) => out.clone(),
            None => std::env::temp_dir().join(format!("eigenflow-demo-{}", std::process::id())),
        };
        // The commands on the table want an address.
        let said = out.to_str().context("--out must be text")?;
        Location::parse(said).context("--out")?;
        let make = |folder: &Path| {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("{} can't be made", folder.display()))
        };
        let buckets = [BUCKET, TABLE_BUCKET].map(|bucket| (bucket, out.join(bucket)));
        for (_, link) in &buckets {
            ensure!(
                link.symlink_metadata().is_err(),
                "{} is there already: give another --out, or remove it",
                link.display()
            );
        }
        make(&out)?;
        for (bucket, link) in &buckets {
            // The server keeps its own notes beside the buckets; a reader of the table need not see them.
            make(&out.join(STORE).join(bucket))?;
            std::os::unix::fs::symlink(Path::new(STORE).join(bucket), link)
                .with_context(|| format!("{} can't be made", link.display()))?;
        }
        Ok(std::path::absolute(&out)?)
    }

    /// Runs the job, process 0 here and the others as children: to the end of the topic, or until it is stopped.
    fn work(
        &self,
        runtime: &Runtime,
        config: Config,
        settings: &Settings,
        credentials: &Credentials,
        told: &Arc<Told>,
    ) -> Result<Arc<Job>, Failure> {
        let options = Options {
            until_end: !self.keep_serving,
            credentials: Some(credentials.clone()),
            ..Options::default()
        };
        let layout = self.layout()?;
        let children =
            Children::spawn(&layout, settings, &told.out, credentials, options.until_end)?;
        let children = Arc::new(Mutex::new(children));
        let listening = self
            .listen
            .start(runtime, &config.observe, layout.process, options)?;
        if let Some(address) = listening.address() {
            println!("the live page: http://{address}/");
        }
        let bar = bar("images", told.total);
        let ended = Arc::new(AtomicBool::new(false));
        let mut watcher = None;
        let result = listening.run_beside(config, &layout, |job| {
            let (told, job) = (told.clone(), Arc::downgrade(job));
            let (bar, ended, children) = (bar.clone(), ended.clone(), children.clone());
            let watch = move || told.watch(&job, &bar, &ended, &children);
            watcher = Some(std::thread::spawn(watch));
        });
        ended.store(true, Relaxed);
        let watched = watcher.map(JoinHandle::join).transpose();
        let watched = watched.map_err(|_| anyhow!("the thread that tells of the job panicked"))?;
        let job = result?;
        watched.transpose()?;
        Ok(job)
    }

    fn layout(&self) -> Result<Layout> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self
            .workers
            .unwrap_or(if self.processes == 1 { cores } else { 1 });
        if self.processes == 1 {
            return Ok(Layout::single(workers));
        }
        let addresses = free_addresses(self.processes)?;
        Ok(Layout {
            workers,
            process: 0,
            addresses: addresses.iter().map(SocketAddr::to_string).collect(),
        })
    }
}

/// What is told of the job while it runs, and once all images are published.
struct Told {
    runtime: Handle,
    start: Instant,
    out: PathBuf,
    total: u64,
    /// For programs.
    json: bool,
    /// Where the servers are, if the job goes on.
    servers: Option<String>,
}

impl Told {
    /// Shows how far the job is until it has ended, or goes on with all images published. It fails if one of `children` does.
    fn watch(
        &self,
        job: &Weak<Job>,
        bar: &ProgressBar,
        ended: &AtomicBool,
        children: &Mutex<Children>,
    ) -> Result<()> {
        while let Some(job) = job.upgrade().filter(|_| !ended.load(Relaxed)) {
            bar.set_position(job.metrics.settled.get());
            let mut children = children.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = children.check() {
                job.failure.set(error);
            }
            drop(children);
            if let Some(servers) = &self.servers
                && self.is_published(&job)
            {
                bar.finish_and_clear();
                self.summary(&job)?;
                println!("{servers}");
                return Ok(());
            }
            drop(job);
            std::thread::sleep(WATCH);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn summary(&self, job: &Arc<Job>) -> Result<()> {
        let summary = Summary::new(
            &self.runtime,
            job,
            &self.out,
            self.total,
            self.start.elapsed(),
        )?;
        match self.json {
            true => println!("{}", serde_json::to_string(&summary)?),
            false => println!("{summary}"),
        }
        Ok(())
    }

    /// Whether the tables hold every image.
    fn is_published(&self, job: &Job) -> bool {
        let published = &job.metrics.published;
        let [rows, rejects] =
            [&published.rows, &published.rejects].map(|count| count.get().unwrap_or(0.0));
        rows + rejects >= self.total as f64
    }
}

/// Fetches the network's pretrained weights, unless they are here or others are wanted; its lines come above the `bar`.
async fn bring_weights(backbone: &Backbone, bar: &ProgressBar) -> Result<()> {
    let Weights::Named(name) = &backbone.weights else {
        return Ok(());
    };
    if backbone.name == "pixels" {
        return Ok(());
    }
    let cache = weights::cache_dir()?;
    let (wanted, bar) = (name.clone(), bar.clone());
    let brought = spawn_blocking(move || {
        let say = |line: &str| bar.suspend(|| println!("{line}"));
        weights::get(&wanted, &Source::Catalogue, &cache, &say)
    });
    brought
        .await?
        .map(drop)
        .with_context(|| format!("weights {name}"))
}

fn bar(what: &'static str, total: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix:10} {wide_bar} {pos}/{len}  {per_sec}  {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_prefix(what)
}

/// The processes after the first; they end with the job, and with this process.
struct Children(Vec<Child>);

impl Children {
    fn spawn(
        layout: &Layout,
        settings: &Settings,
        out: &Path,
        credentials: &Credentials,
        until_end: bool,
    ) -> Result<Self> {
        let mut children = Children(Vec::new());
        if layout.addresses.len() < 2 {
            return Ok(children);
        }
        let hosts = out.join("hosts");
        let file = match settings.file() {
            Some(file) => file.clone(),
            None => {
                let empty = out.join("job.toml");
                std::fs::write(&empty, "")?;
                empty
            }
        };
        std::fs::write(&hosts, layout.addresses.join("\n"))?;
        let program = std::env::current_exe().context("this program's own path")?;
        for process in 1..layout.addresses.len() {
            let mut command = Command::new(&program);
            // What the demo itself doesn't hear.
            let settable = |name: &str| name.starts_with(keys::VARIABLE_PREFIX);
            for (name, _) in config::environment() {
                if settable(&name) && !settings::is_heard(&name) {
                    command.env_remove(name);
                }
            }
            let child = command
                .args(["run", "--config"])
                .arg(&file)
                .args(until_end.then_some("--until-end"))
                .args(["--workers", &layout.workers.to_string()])
                .args(["--processes", &layout.addresses.len().to_string()])
                .args(["--process", &process.to_string(), "--hostfile"])
                .arg(&hosts)
                .env("AWS_ACCESS_KEY_ID", &credentials.access_key)
                .env("AWS_SECRET_ACCESS_KEY", &credentials.secret_key)
                .env("EIGENFLOW__LOG__FILTER", "warn")
                .envs(settings.variables())
                .spawn()
                .with_context(|| format!("process {process}"))?;
            children.0.push(child);
        }
        Ok(children)
    }

    /// One that dies before it is connected would be waited for in vain.
    fn check(&mut self) -> Result<()> {
        for (child, process) in self.0.iter_mut().zip(1..) {
            if let Some(end) = child.try_wait()?.filter(|end| !end.success()) {
                bail!("process {process} of the demo ended with {end}; what it said is above");
            }
        }
        Ok(())
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // They end by themselves when the job ends; this is for when it did not begin or end well.
            let deadline = Instant::now() + Duration::from_secs(5);
            while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        demo: Demo,
    }

    #[test]
    fn what_is_asked_wrongly_makes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let [out, images, file] =
            ["out", "images", "images/a.png"].map(|name| folder.path().join(name));
        std::fs::create_dir(&images).expect("a folder");
        std::fs::write(&file, "no picture").expect("a file");
        let path = |path: &Path| path.display().to_string();
        let [absent, file, images] = [
            path(&folder.path().join("absent")),
            path(&file),
            path(&images),
        ];
        let made = path(&out);
        for (arguments, why) in [
            (
                ["--images", &absent, "--limit", "1"],
                "absent: No such file",
            ),
            (["--images", &file, "--limit", "1"], "a.png is no folder"),
            (["--images", &images, "--precision", "f33"], "f33"),
            (["--images", &images, "--workers", "0"], "at least 1"),
            (["--images", &images, "--config", &absent], "cannot read"),
        ] {
            let line = ["demo", "--out", &made].into_iter().chain(arguments);
            let failure = Line::parse_from(line).demo.run().expect_err(why);
            assert!(matches!(failure, Failure::Usage(_)), "{failure}");
            assert!(failure.to_string().contains(why), "{failure}");
            assert!(!out.exists(), "{why}");
        }
    }

    #[test]
    fn an_output_that_is_there_already_is_left_as_it_is() {
        let out = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(out.path().join(TABLE_BUCKET)).expect("a folder");
        let line = ["demo".as_ref(), "--out".as_ref(), out.path().as_os_str()];
        let refused = Line::parse_from(line).demo.prepare_out();
        let why = refused.expect_err("a refusal").to_string();
        assert!(why.contains("is there already"), "{why}");
        assert!(!out.path().join(BUCKET).exists() && !out.path().join(STORE).exists());
    }

    #[test]
    fn a_child_that_fails_is_told_and_one_that_ends_well_is_not() {
        let end = |code: &str| {
            let mut child = Command::new("sh");
            let mut child = child.args(["-c", code]).spawn().expect("a shell");
            child.wait().expect("its end");
            child
        };
        assert!(Children(vec![end("exit 0")]).check().is_ok());
        let failed = Children(vec![end("exit 0"), end("exit 2")]).check();
        let said = failed.expect_err("a failure").to_string();
        assert!(said.contains("process 2") && said.contains('2'), "{said}");
    }
}

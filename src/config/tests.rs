//! What a user may rely on when writing a configuration.

use super::keys::{KEYS, Kind, SECTIONS, Unsaid};
use super::*;

const LEAST: &str = r#"
[kafka]
brokers = "localhost:9092"
topic = "uploads"
[s3]
buckets = ["landing"]
[table]
uri = "s3://warehouse/fruit/table"
"#;

fn env<const N: usize>(pairs: [(&str, &str); N]) -> impl Iterator<Item = (String, String)> {
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter()
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, env([]))
}

/// The least configuration with more lines in one of its sections.
fn least_with(section: &str, lines: &str) -> String {
    let head = format!("[{section}]");
    if LEAST.contains(&head) {
        LEAST.replace(&head, &format!("{head}\n{lines}"))
    } else {
        format!("{LEAST}{head}\n{lines}\n")
    }
}

fn complaint(text: &str) -> String {
    parse(text).expect_err("must be refused").to_string()
}

#[test]
fn the_least_configuration_gets_the_documented_defaults() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.kafka.group, "eigenflow");
    assert_eq!(config.kafka.start, Start::Earliest);
    assert_eq!(config.kafka.on_lost_offsets, LostOffsets::Fail);
    assert_eq!(config.s3.endpoint, None);
    assert!(!config.s3.path_style);
    assert_eq!(config.table.rows_per_file, 10_000);
    assert_eq!(config.backbone.weights, Weights::Named("resnet50".into()));
    assert_eq!(config.backbone.fit, Fit::Stretch);
    assert_eq!(config.backbone.filter, Filter::Bilinear);
    assert_eq!(config.backbone.input_side, None);
    assert_eq!(config.backbone.pooling, Pooling::Avg);
    assert_eq!(config.backbone.preprocessing, None);
    assert_eq!(config.head, Head::None);
    assert_eq!(config.label, LabelRule::Parent);
    assert_eq!(config.projection.components, Components::Count(50));
    assert!(config.projection.standardise);
    assert_eq!(config.projection.ddof, 1);
    assert_eq!(config.classifier.shrinkage, Shrinkage::By(0.01));
    assert_eq!(
        config.columns.predicted_label.as_deref(),
        Some("predicted_label")
    );
    assert_eq!(config.columns.confidence.as_deref(), Some("confidence"));
    assert_eq!(config.columns.cluster, None);
    assert_eq!(config.publish.interval_ms, 30_000);
    assert_eq!(config.limits.fetch_bytes_in_flight, 134_217_728);
    assert_eq!(config.limits.labels, 10_000);
    assert_eq!(config.limits.tombstone_retention_ms, 7 * 86_400_000);
    assert_eq!(config.log.format, LogFormat::Auto);
}

#[test]
fn the_example_is_a_valid_configuration() {
    let config = parse(&Config::example()).unwrap();
    assert_eq!(config.publish, parse(LEAST).unwrap().publish);
}

#[test]
fn the_example_with_every_line_uncommented_says_the_defaults() {
    let is_setting = |line: &str| {
        let name = line.split(' ').next().unwrap_or_default();
        line.contains(" = ") && KEYS.iter().any(|key| key.name == name)
    };
    let mut settings = 0;
    let uncommented: Vec<&str> = Config::example()
        .leak()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if is_setting(rest) => {
                settings += 1;
                rest
            }
            _ => line,
        })
        .collect();
    let required = |key: &&keys::Key| matches!(key.unsaid, Unsaid::Required(_));
    assert_eq!(settings, KEYS.len() - KEYS.iter().filter(required).count());
    let config = parse(&uncommented.join("\n")).unwrap();
    let defaults = parse(LEAST).unwrap();
    assert_eq!(config.limits, defaults.limits);
    assert_eq!(config.projection, defaults.projection);
    assert_eq!(config.publish, defaults.publish);
    assert_eq!(config.log, defaults.log);
    assert_eq!(config.backbone.weights, defaults.backbone.weights);
}

#[test]
fn every_key_is_in_a_section_of_the_tour_and_in_the_docs() {
    let docs = Config::docs();
    for key in KEYS {
        assert!(
            SECTIONS.iter().any(|(name, _)| *name == key.section),
            "{}",
            key.path()
        );
        assert!(
            docs.contains(&format!("| `{}` |", key.path())),
            "{}",
            key.path()
        );
    }
}

#[test]
fn every_key_can_be_overridden_by_its_variable() {
    for key in KEYS {
        let sample = key.unsaid.sample();
        let text = match key.kind {
            Kind::Text | Kind::Secret | Kind::Choice(_) | Kind::Column => {
                sample.trim_matches('"').to_owned()
            }
            Kind::List => sample.replace(['[', ']', '"'], ""),
            _ => sample.to_owned(),
        };
        let pairs = [(key.variable(), text.clone())].into_iter();
        if let Err(error) = Config::parse(LEAST, pairs) {
            panic!("{}={text}: {error}", key.variable());
        }
        let wrong = match key.kind {
            Kind::Text | Kind::Secret | Kind::Column => String::new(),
            // Any text is a list, if only an empty one.
            Kind::List if matches!(key.unsaid, Unsaid::Default("[]")) => continue,
            Kind::List | Kind::Properties => ",".into(),
            _ => "never".into(),
        };
        let pairs = [(key.variable(), wrong)].into_iter();
        let error = Config::parse(LEAST, pairs)
            .expect_err(&key.variable())
            .to_string();
        assert!(error.contains(&key.variable()), "{error}");
    }
}

#[test]
fn the_environment_overrides_the_file_and_a_flag_overrides_both() {
    let text = least_with("publish", "rows = 1");
    let variables = || env([("EIGENFLOW__PUBLISH__ROWS", "2"), ("PATH", "/bin")]);
    assert_eq!(parse(&text).unwrap().publish.rows, 1);
    let mut said = Said::parse(&text, variables()).unwrap();
    assert_eq!(said.clone().resolve().unwrap().publish.rows, 2);
    said.set("publish.rows", "3", "--rows");
    assert_eq!(said.resolve().unwrap().publish.rows, 3);
}

#[test]
fn the_aws_endpoint_is_honoured_but_weaker_than_our_own() {
    let aws = ("AWS_ENDPOINT_URL", "http://localhost:9000");
    let config = Config::parse(LEAST, env([aws])).unwrap();
    assert_eq!(config.s3.endpoint.as_deref(), Some("http://localhost:9000"));
    assert!(
        config.s3.path_style,
        "an endpoint of one's own is path style"
    );
    let ours = ("EIGENFLOW__S3__ENDPOINT", "https://ours");
    let config = Config::parse(LEAST, env([aws, ours])).unwrap();
    assert_eq!(config.s3.endpoint.as_deref(), Some("https://ours"));
    let file = least_with("s3", "endpoint = \"https://file\"\npath_style = false");
    let config = Config::parse(&file, env([aws])).unwrap();
    assert_eq!(config.s3.endpoint.as_deref(), Some("https://file"));
    assert!(!config.s3.path_style);
}

#[test]
fn unknown_names_are_refused_with_line_and_the_nearest_known_one() {
    let error = complaint("[kafka]\nbrokers = \"a:1\"\ntopc = \"t\"\n");
    assert!(
        error.contains("line 3: there is no key `kafka.topc`; did you mean `kafka.topic`?"),
        "{error}"
    );
    let error = complaint("[publsh]\nrows = 1\n");
    assert!(
        error.contains("line 1: there is no section [publsh]; did you mean [publish]?"),
        "{error}"
    );
    let error = complaint("rows = 1\n");
    assert!(error.contains("belongs under [publish]"), "{error}");
    let error = complaint(&least_with("table", "components = 1"));
    assert!(
        error.contains("did you mean `projection.components`?"),
        "{error}"
    );
    let error = Config::parse(LEAST, env([("EIGENFLOW__LOG__FLTER", "info")])).unwrap_err();
    assert!(
        error.to_string().contains(
            "EIGENFLOW__LOG__FLTER: there is no key `log.flter`; did you mean `log.filter`?"
        ),
        "{error}"
    );
}

#[test]
fn a_wrong_type_names_key_expectation_example_and_place() {
    let error = complaint(&least_with("publish", "rows = \"many\""));
    assert!(
        error.contains(
            "`publish.rows` takes a whole number, at least 1, such as 20000; found \"many\""
        ),
        "{error}"
    );
    assert!(error.contains("line 10"), "{error}");
    for (section, line) in [
        ("publish", "rows = 0"),
        ("publish", "rows = -1"),
        ("publish", "interval_ms = 0"),
        ("publish", "interval_ms = \"5 years\""),
        ("publish", "reproject_at_end = 1"),
        ("projection", "components = 0"),
        ("projection", "components = 1.0"),
        ("projection", "components = nan"),
        ("projection", "ddof = 2"),
        ("backbone", "precision = \"f16\""),
        ("backbone", "pooling = \"mean\""),
        ("backbone", "preprocessing = \"keras\""),
        ("head", "features = 4097"),
        ("kafka", "group = \"\""),
        ("kafka", "properties = { a = [1] }"),
    ] {
        let error = complaint(&least_with(section, line));
        let name = line.split(' ').next().unwrap_or_default();
        assert!(
            error.contains(&format!("`{section}.{name}` takes")),
            "{error}"
        );
    }
}

#[test]
fn all_problems_come_at_once() {
    let error = parse("[kafka]\nbrokers = \"nowhere\"\n[s3]\nbuckets = []\n[backbone]\nweights = \"./none.safetensors\"\nnme = 1\n")
        .unwrap_err();
    let ConfigError::Invalid(problems) = error else {
        panic!("{error}");
    };
    let text = format!("{}", ConfigError::Invalid(problems.clone()));
    for part in [
        "line 2: `kafka.brokers`",
        "kafka.topic: is required, such as topic = \"uploads\"",
        "line 4: `s3.buckets` takes at least one",
        "table.uri: is required",
        "line 6: `backbone.weights` names a file that is not there",
        "line 7: there is no key `backbone.nme`; did you mean `backbone.name`?",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(problems.len(), 6, "{text}");
}

#[test]
fn patterns_globs_and_filters_are_read_at_once_with_their_lines() {
    let text = format!(
        "{LEAST}[select]\ninclude = [\"a/**\", \"[z\"]\nexclude = [\"{{a\"]\n[label]\nrule = \"regex\"\npattern = '(a'\n\
         [log]\nfilter = \"info,eigenflow=blah\"\n[observe]\notlp_endpoint = \"collector\"\n"
    );
    let Err(ConfigError::Invalid(problems)) = parse(&text) else {
        panic!("must be refused");
    };
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 5, "{said:#?}");
    for part in [
        "line 10: `select.include` takes globs; \"[z\" is none: ",
        "line 11: `select.exclude` takes globs; \"{a\" is none: ",
        "line 14: `label.pattern` takes a regular expression with one capture: unclosed group",
        "line 16: `log.filter` takes a filter",
        "line 18: `observe.otlp_endpoint` takes",
    ] {
        assert!(
            said.iter().any(|line| line.starts_with(part)),
            "{part}\n{said:#?}"
        );
    }
    assert!(
        said.iter().all(|line| line.lines().count() == 1),
        "{said:#?}"
    );
    for (pattern, captures) in [("a", 0), ("(a)(b)", 2)] {
        let error = complaint(&least_with(
            "label",
            &format!("rule = \"regex\"\npattern = '{pattern}'"),
        ));
        assert!(
            error.contains(&format!("{pattern:?} has {captures}")),
            "{error}"
        );
    }
}

#[test]
fn a_required_key_of_the_wrong_type_is_reported_once() {
    let text = LEAST.replace("\"uploads\"", "7");
    let Err(ConfigError::Invalid(problems)) = parse(&text) else {
        panic!("must be refused");
    };
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn relations_between_keys_are_checked() {
    for (section, lines, part) in [
        ("label", "rule = \"regex\"", "label.pattern"),
        (
            "limits",
            "image_bytes = 134217729",
            "`limits.fetch_bytes_in_flight` must be at least",
        ),
        (
            "backbone",
            "fit = \"center-crop\"\ninput_side = 320",
            "`backbone.crop_resize` must be at least",
        ),
        ("backbone", "input_side = 31", "`backbone.input_side`"),
        ("backbone", "weights = \"random:x\"", "random:1"),
        ("head", "kind = \"dense\"", "head.weights"),
        (
            "head",
            "kind = \"dense\"\nweights = \"./head.h5\"",
            "`head.weights` takes a .safetensors file",
        ),
        (
            "kafka",
            "properties = { \"bootstrap.servers\" = \"x:1\" }",
            "`kafka.brokers` sets it",
        ),
        (
            "s3",
            "endpoint = \"localhost:9000\"",
            "`s3.endpoint` takes http://",
        ),
        (
            "observe",
            "otlp_endpoint = \"localhost:4318\"",
            "`observe.otlp_endpoint` takes http://",
        ),
    ] {
        let error = complaint(&least_with(section, lines));
        assert!(error.contains(part), "{error}");
    }
    let bad_uri = |uri: &str| complaint(&LEAST.replace("s3://warehouse/fruit/table", uri));
    for uri in ["s3://bucket", "s3://bucket/", "gs://bucket/table"] {
        assert!(bad_uri(uri).contains("`table.uri` takes"), "{uri}");
    }
    for brokers in ["a", "a:0", "a:70000", "a:1,", ":1", "a b:1", "::1:9"] {
        let text = LEAST.replace("localhost:9092", brokers);
        assert!(complaint(&text).contains("kafka.brokers"), "{brokers}");
    }
    let text = LEAST.replace("localhost:9092", "a:1, [::1]:2,SASL_SSL://b.c:3");
    parse(&text).unwrap();
}

#[test]
fn values_say_what_they_mean() {
    let text = [
        ("publish", "interval_ms = \"5m\""),
        ("projection", "components = 0.95"),
        (
            "backbone",
            "weights = \"random:7\"\nfit = \"center-crop\"\nfilter = \"bicubic\"\npooling = \"flatten\"\npreprocessing = \"caffe\"",
        ),
        ("head", "kind = \"random-projection\"\nfeatures = 256"),
        ("columns", "predicted_label = false\nconfidence = \"sure\""),
        ("classifier", "shrinkage = \"ledoit-wolf\""),
        ("label", "rule = \"regex\"\npattern = '^([^/]+)/'"),
        ("limits", "retry_ms = 0x10"),
    ]
    .iter()
    .fold(LEAST.to_owned(), |text, (section, lines)| {
        format!("{text}[{section}]\n{lines}\n")
    });
    let config = parse(&text).unwrap();
    assert_eq!(config.publish.interval_ms, 300_000);
    assert_eq!(config.projection.components, Components::Ratio(0.95));
    assert_eq!(config.backbone.weights, Weights::Random(7));
    assert_eq!(config.backbone.fit, Fit::CenterCrop { resize: 256 });
    assert_eq!(config.backbone.filter, Filter::Bicubic);
    assert_eq!(config.backbone.pooling, Pooling::Flatten);
    assert_eq!(config.backbone.preprocessing, Some(Preprocessing::Caffe));
    let (features, seed) = (256, 1);
    assert_eq!(config.head, Head::RandomProjection { features, seed });
    assert_eq!(
        config.label,
        LabelRule::Regex(LabelPattern::new("^([^/]+)/").unwrap())
    );
    assert_eq!(config.limits.retry_ms, 16);
    assert_eq!(config.classifier.shrinkage, Shrinkage::LedoitWolf);
    let columns = &config.columns;
    assert_eq!(columns.predicted_label, None);
    assert_eq!(columns.confidence.as_deref(), Some("sure"));
}

#[test]
fn nothing_is_predicted_without_labels_or_a_classifier() {
    for (section, line) in [
        ("label", "rule = \"none\""),
        ("classifier", "enabled = false"),
    ] {
        let columns = parse(&least_with(section, line)).unwrap().columns;
        assert_eq!((columns.predicted_label, columns.confidence), (None, None));
    }
}

#[test]
fn a_weights_file_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.safetensors");
    std::fs::write(&file, b"").unwrap();
    let text = least_with(
        "backbone",
        &format!("weights = {:?}", file.to_str().unwrap()),
    );
    assert_eq!(parse(&text).unwrap().backbone.weights, Weights::File(file));
}

#[test]
fn kafka_properties_pass_through_from_file_and_environment() {
    let text = least_with(
        "kafka",
        "properties = { security.protocol = \"SASL_SSL\", \"sasl.username\" = \"me\", \"socket.timeout.ms\" = 5 }",
    );
    let password = ("EIGENFLOW__KAFKA__PROPERTIES__SASL_PASSWORD", "hunter2");
    let properties = Config::parse(&text, env([password]))
        .unwrap()
        .kafka
        .properties
        .0;
    let expected = [
        ("sasl.password", "hunter2"),
        ("sasl.username", "me"),
        ("security.protocol", "SASL_SSL"),
        ("socket.timeout.ms", "5"),
    ];
    let got: Vec<_> = properties
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn no_secret_is_ever_shown() {
    let text = least_with(
        "kafka",
        "properties = { sasl.password = \"hunter2\", \"sasl.oauthbearer.client.secret\" = \"hunter2\", sasl.username = \"me\" }",
    );
    let text = format!("{text}\n[observe]\ntoken = \"hunter2\"\n");
    let shown = format!("{:?}", parse(&text).unwrap());
    assert!(
        shown.contains("sasl.password") && shown.contains("\"me\""),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    for broken in [
        least_with("kafka", "properties = { sasl.password = [\"hunter2\"] }"),
        least_with("kafka", "properties = \"sasl.password=hunter2\""),
        least_with("kafka", "properties = { sasl.password = \"hunter2"),
        least_with("observe", "token = \"hunter2 with spaces\""),
        least_with("observe", "token = [\"hunter2\"]"),
        least_with("observe", "otlp_endpoint = \"http://me:hunter2@collector\""),
        least_with(
            "observe",
            "otlp_endpoint = \"http://collector?key=hunter2\"",
        ),
    ] {
        let error = parse(&broken).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn syntax_errors_and_unreadable_files_say_where() {
    let error = complaint("[kafka]\nbrokers = \n");
    assert!(error.starts_with("line 2: not valid TOML"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.toml");
    let error = Config::load(&file, env([])).unwrap_err().to_string();
    assert!(
        error.contains("job.toml") && error.contains("eigenflow config example"),
        "{error}"
    );
    std::fs::write(&file, "[kafka]\ntopic = 1\n").unwrap();
    let error = Config::load(&file, env([])).unwrap_err().to_string();
    assert!(
        error.contains("job.toml:2: `kafka.topic` takes text"),
        "{error}"
    );
}

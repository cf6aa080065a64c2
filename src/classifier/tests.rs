use super::*;
use crate::moments::{Accumulator, Moments, quantise};
use crate::shared::shared;
use crate::tensors::StoredError;
use safetensors::SafeTensors;

type Labelled = (Vec<f32>, Option<&'static str>);

fn accumulate(accumulator: &mut Accumulator, rows: &[Labelled], added: bool) {
    for (features, label) in rows {
        let mut grid = vec![0; features.len()];
        quantise(features, &mut grid).unwrap();
        match added {
            true => accumulator.add(&grid, *label).unwrap(),
            false => accumulator.retract(&grid, *label).unwrap(),
        }
    }
}

fn moments_of(rows: &[Labelled]) -> Moments {
    let width = rows[0].0.len();
    let mut accumulator = Accumulator::new(width).unwrap();
    accumulate(&mut accumulator, rows, true);
    Moments::from_parts(width, accumulator.drain()).unwrap()
}

fn shrunk(share: f64) -> Options {
    Options {
        shrinkage: Shrinkage::By(share),
        ..Options::default()
    }
}

fn estimated() -> Options {
    Options {
        shrinkage: Shrinkage::Estimated(Estimator::LedoitWolf),
        ..Options::default()
    }
}

/// 3 rows of a, 5 of b, 6 of c.
#[rustfmt::skip]
fn rows() -> Vec<Labelled> {
    let features: [[f32; 4]; 14] = [
        [-0.375, 4.125, 1.3125, 2.3125], [0.0625, 1.3125, -0.125, -4.0], [-0.875, 1.5, 0.0, -0.4375],
        [-0.875, 0.0625, 1.5, 5.75], [0.75, -4.875, -3.0625, 0.9375], [-3.6875, -1.9375, -0.4375, 0.9375],
        [-0.9375, -2.875, 0.25, 2.6875], [-2.0625, -4.0625, -1.9375, -0.6875], [-1.375, 0.0, 0.25, 1.125],
        [-0.0625, -3.5625, 1.25, -2.25], [-1.8125, 2.25, 2.25, 0.125], [-0.5, -3.875, 0.4375, -2.875],
        [0.375, -2.125, 2.375, 0.5625], [-0.8125, -1.0625, 1.375, -0.125],
    ];
    let label = |i| match i { 0..3 => "a", 3..8 => "b", _ => "c" };
    features.iter().enumerate().map(|(i, row)| (row.to_vec(), Some(label(i)))).collect()
}

const QUERIES: [[f32; 4]; 4] = [
    [-0.5625, -3.3125, -0.0625, -1.3125],
    [3.5, 1.9375, -0.0625, 2.0],
    [-1.0, 3.1875, 0.0, 1.75],
    [-3.875, 1.0625, -5.0625, -6.125],
];

fn assert_probabilities(classifier: &Classifier, queries: &[Vec<f32>], wanted: &[[f64; 3]]) {
    for (query, wanted) in queries.iter().zip(wanted) {
        let found = classifier.probabilities(query);
        assert_eq!(found.len(), 3);
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(
                (found - wanted).abs() <= 1e-9 * wanted,
                "{found:e} instead of {wanted:e}"
            );
        }
    }
}

/// `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=s).fit(rows, labels).predict_proba(QUERIES)` of scikit-learn 1.9.
#[test]
#[rustfmt::skip]
fn probabilities_are_those_of_scikit_learn() {
    let wanted = [
        (0.01, [
            [8.450151897033872e-08, 0.008598860300587444, 0.9914010551978936],
            [0.9999999947658487, 1.2886242250685163e-19, 5.23415139258933e-09],
            [0.9996296923177277, 2.281543471136275e-09, 0.0003703054007286919],
            [0.9999999870547722, 3.78515824379714e-12, 1.2941442651634755e-08],
        ]),
        (0.5, [
            [0.0012664511136872057, 0.14249536515242262, 0.85623818373389],
            [0.9750409380252726, 0.00024479753388673717, 0.024714264440840503],
            [0.9685217653862248, 0.0013759089058172458, 0.03010232570795795],
            [0.9991985972567615, 2.0470259795269924e-05, 0.0007809324834434289],
        ]),
        (1.0, [
            [0.0018571034925953277, 0.20303624034115478, 0.7951066561662498],
            [0.8947906477557311, 0.012880792604867726, 0.09232855963940109],
            [0.969153205458097, 0.004609395698634104, 0.026237398843268898],
            [0.9130937166122564, 0.0023528576638542627, 0.08455342572388932],
        ]),
    ];
    let queries = QUERIES.map(|query| query.to_vec());
    for (shrinkage, wanted) in wanted {
        let classifier = fit(&moments_of(&rows()), &shrunk(shrinkage)).unwrap();
        assert_probabilities(&classifier, &queries, &wanted);
        let found = classifier.classify(&QUERIES[0]);
        assert_eq!((found.label, found.confidence), ("c", wanted[0][2] as f32));
        assert_eq!(classifier.ranked(&QUERIES[0], 2)[1].label, "b");
    }
}

/// As above, with the shrinkage that numpy finds for the rows minus their labels' means, X, n = 14 - 3 of freedom: with S = XᵀX,
/// `((n - 2) / n * (S * S).sum() + S.trace()**2) / (n + 2) / ((S * S).sum() - S.trace()**2 / 4)`. scikit-learn's `ledoit_wolf_shrinkage(X,
/// assume_centered=True)`, which takes fourth moments, is 0.34 here, too.
#[test]
#[rustfmt::skip]
fn the_scatter_itself_says_how_far_it_is_shrunk() {
    let wanted = [
        [0.0005187538449901244, 0.10504287319329908, 0.8944383729617109],
        [0.9944755625843209, 8.335251951925615e-06, 0.00551610216372727],
        [0.9810853284476758, 0.0003736578850630263, 0.018541013667261266],
        [0.9998730893419318, 2.7729429191999956e-06, 0.00012413771514896584],
    ];
    let classifier = fit(&moments_of(&rows()), &estimated()).unwrap();
    assert_probabilities(&classifier, &QUERIES.map(|query| query.to_vec()), &wanted);
    assert!((classifier.shrinkage() - 0.34769455883409695).abs() < 1e-12);
}

#[test]
fn scatter_without_a_shape_is_shrunk_to_a_sphere() {
    let fit_of = |rows: &[Labelled]| fit(&moments_of(rows), &estimated()).unwrap();
    // One feature; two rows and one label's mean; as much in either direction.
    let one = [(1.0, "a"), (2.0, "a"), (5.0, "b"), (6.0, "b"), (8.0, "b")];
    let one = one.map(|(x, label)| (vec![x], Some(label)));
    let few = [([1.0, 2.0], "a"), ([4.0, 3.0], "a"), ([9.0, 9.0], "b")];
    let few = few.map(|(x, label)| (x.to_vec(), Some(label)));
    let round = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
    let round = round.map(|x| [(x.to_vec(), Some("a")), (vec![x[0] + 9.0, x[1]], Some("b"))]);
    for rows in [&one[..], &few, &round.concat()] {
        assert_eq!(fit_of(rows).shrinkage(), 1.0);
    }
}

#[test]
fn options_are_said_in_json_as_in_a_configuration() {
    for (options, word) in [
        (Options::default(), "0.01"),
        (estimated(), "\"ledoit-wolf\""),
    ] {
        let json = serde_json::to_string(&options).unwrap();
        assert_eq!(
            json,
            format!("{{\"shrinkage\":{word},\"max_labels\":1000}}")
        );
        assert_eq!(serde_json::from_str::<Options>(&json).unwrap(), options);
    }
}

/// As the first, with shrinkage 0.1.
#[test]
#[rustfmt::skip]
fn a_constant_feature_changes_as_little_as_with_scikit_learn() {
    let wanted = [
        [3.476974808619433e-06, 0.023329489625529956, 0.9766670333996613],
        [0.9999981140987614, 1.310123695456627e-13, 1.8859011075493465e-06],
        [0.9984457804331666, 3.8017429310293674e-07, 0.0015538393925404854],
        [0.9999997436849366, 8.388838298605689e-10, 2.554761796492871e-07],
    ];
    let with_constant = |features: &[f32]| [features, &[3.5]].concat();
    let rows: Vec<Labelled> = rows().into_iter().map(|(x, label)| (with_constant(&x), label)).collect();
    let classifier = fit(&moments_of(&rows), &shrunk(0.1)).unwrap();
    assert_probabilities(&classifier, &QUERIES.map(|query| with_constant(&query)), &wanted);
}

#[test]
fn a_deleted_label_was_never_there() {
    let (kept, gone): (Vec<Labelled>, Vec<Labelled>) = rows()
        .into_iter()
        .partition(|(_, label)| *label != Some("b"));
    let mut accumulator = Accumulator::new(4).unwrap();
    accumulate(&mut accumulator, &gone, false);
    let left = moments_of(&rows()).apply(accumulator.drain()).unwrap();
    for options in [Options::default(), estimated()] {
        let stored = |moments| Stored {
            version: 1,
            classifier: fit(moments, &options).unwrap(),
        };
        let (left, never) = (stored(&left), stored(&moments_of(&kept)));
        assert_eq!(left.classifier.sha256(), never.classifier.sha256());
        assert_eq!(
            left.to_safetensors().unwrap(),
            never.to_safetensors().unwrap()
        );
        assert_eq!(left.classifier.labels(), ["a", "c"]);
    }
}

/// Rows without a label are a group about their own mean: they scatter, and are never predicted. Expected: the same with a label of
/// their own, whose discriminant is left out.
#[test]
fn rows_without_a_label_only_scatter() {
    let unlabelled = |rows: Vec<Labelled>| -> Vec<Labelled> {
        let none = |label: Option<&'static str>| label.filter(|label| *label != "b");
        rows.into_iter()
            .map(|(features, label)| (features, none(label)))
            .collect()
    };
    let three = fit(&moments_of(&rows()), &Options::default()).unwrap();
    let two = fit(&moments_of(&unlabelled(rows())), &Options::default()).unwrap();
    assert_eq!(
        (two.labels(), two.n()),
        (&["a", "c"].map(String::from)[..], 9)
    );
    for query in &QUERIES {
        let (of_three, of_two) = (three.probabilities(query), two.probabilities(query));
        let odds = of_three[0] / of_three[2];
        assert!((of_two[0] / of_two[1] / odds - 1.0).abs() < 1e-9);
    }
}

#[test]
fn what_can_not_be_told_apart_has_no_classifier() {
    let error = |rows: &[Labelled], options: &Options| fit(&moments_of(rows), options).unwrap_err();
    let all = |label: Option<&'static str>| -> Vec<Labelled> {
        rows().into_iter().map(|(x, _)| (x, label)).collect()
    };
    let default = Options::default();
    assert_eq!(
        error(&all(None), &default),
        ClassifierError::TooFewLabels(0)
    );
    assert_eq!(
        error(&all(Some("a")), &default),
        ClassifierError::TooFewLabels(1)
    );
    let alike = [0.1f32, 0.2, 0.7].map(|x| (vec![x; 5], if x < 0.15 { None } else { Some("a") }));
    let mut alike = alike.to_vec();
    alike[2].1 = Some("b");
    assert_eq!(error(&alike, &default), ClassifierError::NoScatter);
    let few = Options {
        max_labels: 2,
        ..default
    };
    let many = ClassifierError::TooManyLabels { found: 3, max: 2 };
    assert_eq!(error(&rows(), &few), many);
    for shrinkage in [0.0, -0.1, 1.1] {
        let wrong = ClassifierError::Shrinkage(shrinkage);
        assert_eq!(error(&rows(), &shrunk(shrinkage)), wrong);
    }
    assert!(fit(&moments_of(&rows()), &shrunk(f64::NAN)).is_err());
    assert!(matches!(
        fit(&Moments::empty(4).unwrap(), &Options::default()),
        Err(ClassifierError::TooFewLabels(0))
    ));
}

#[test]
fn what_was_written_is_read_and_what_is_damaged_is_refused() {
    let stored = Stored {
        version: 7,
        classifier: fit(&moments_of(&rows()), &Options::default()).unwrap(),
    };
    let bytes = stored.to_safetensors().unwrap();
    assert_eq!(Stored::from_safetensors(&bytes).unwrap(), stored);
    let later = Stored {
        version: 8,
        ..stored.clone()
    };
    assert_eq!(later.classifier.sha256(), stored.classifier.sha256());
    for end in 0..bytes.len() {
        assert!(Stored::from_safetensors(&bytes[..end]).is_err());
    }
    let foreign = safetensors::serialize(
        Vec::<(&str, safetensors::tensor::TensorView<'_>)>::new(),
        None,
    );
    assert!(matches!(
        Stored::from_safetensors(&foreign.unwrap()),
        Err(StoredError::Foreign(_))
    ));
}

/// On ResNet-50's features of 1,900 photographs of 95 fruits by PyTorch, every other one learnt: scikit-learn's classifier
/// with the same shrinkage is right on 947 of the 950 others, with `shrinkage="auto"`, Ledoit and Wolf's of each label, on 946.
#[test]
fn as_many_fruits_are_told_right_as_by_scikit_learn() {
    let Some(file) = shared("reference/resnet50.safetensors") else {
        return;
    };
    let bytes = std::fs::read(file).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let paths = &header.metadata().as_ref().unwrap()["paths"];
    let paths: Vec<String> = serde_json::from_str(paths).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let features = tensors.tensor("features").unwrap();
    let (numbers, _) = features.data().as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|x| f32::from_le_bytes(*x)).collect();
    let label = |path: &str| path.split('/').nth(1).unwrap().to_owned();
    let rows: Vec<(&[f32], String)> = numbers
        .chunks(2048)
        .zip(&paths)
        .map(|(row, path)| (row, label(path)))
        .collect();
    let mut accumulator = Accumulator::new(2048).unwrap();
    let mut grid = vec![0; 2048];
    for (features, label) in rows.iter().step_by(2) {
        quantise(features, &mut grid).unwrap();
        accumulator.add(&grid, Some(label)).unwrap();
    }
    let moments = Moments::from_parts(2048, accumulator.drain()).unwrap();
    for (options, wanted) in [(Options::default(), 947), (estimated(), 948)] {
        let start = std::time::Instant::now();
        let classifier = fit(&moments, &options).unwrap();
        let shrinkage = classifier.shrinkage();
        eprintln!(
            "a fit of 2048 features, 95 labels: {:?}, shrinkage {shrinkage:.4}",
            start.elapsed()
        );
        let others = rows.iter().skip(1).step_by(2);
        let right = others.filter(|(x, label)| classifier.classify(x).label == label);
        assert_eq!((classifier.labels().len(), right.count()), (95, wanted));
    }
}

use std::sync::Arc;

use object_store::memory::InMemory;
use url::Url;

use super::*;
use crate::storage::Patience;
use crate::table::{Form, KeyRow, Reduction, Row};

fn files() -> DataFiles<Row> {
    let url = Url::parse("memory:///table/").unwrap();
    let place = Place::new(Arc::new(InMemory::new()), url, Patience::default()).unwrap();
    DataFiles::new(place, Form::default())
}

fn rows(count: usize, d: usize) -> Vec<Row> {
    (0..count)
        .map(|i| Row {
            path: format!("s3://landing/Apple {}/{i:06}.jpg", i % 7),
            label: (i % 3 > 0).then(|| format!("Apple {}", i % 7)),
            etag: format!("{i:032x}"),
            event_time_ms: 1_700_000_000_000 + i as i64,
            version: format!("{i:048x}"),
            width: 100,
            height: 200,
            features: (0..d).map(|j| ((i * d + j) as f32).sin()).collect(),
            reduced_features: (i % 2 == 0).then(|| vec![i as f32; 5]),
            projection_version: (i % 2 == 0).then_some(3),
            ..Row::default()
        })
        .collect()
}

#[tokio::test]
async fn what_is_written_is_read() {
    let (files, rows) = (files(), rows(3000, 33));
    let file = files.write(rows.clone()).await.unwrap();
    assert_eq!(file.rows, 3000);
    assert_eq!(files.read(&file).await.unwrap(), rows);

    let travelled: DataFile = serde_json::from_str(&serde_json::to_string(&file).unwrap()).unwrap();
    assert_eq!(travelled, file);
}

#[tokio::test]
async fn files_tell_their_form_themselves() {
    let given = [
        ("path", "label"),
        ("label", "category"),
        ("scaled_features", "scaledFeatures"),
    ];
    let given = given.map(|(own, name)| (own.to_owned(), name.to_owned()));
    let plain = files();
    let formed = DataFiles::new(plain.place.clone(), Form::new::<Row>(given).unwrap());
    let scaled = |row: Row| Row {
        scaled_features: row.reduced_features.as_ref().map(|_| vec![0.5; 4]),
        ..row
    };
    let rows: Vec<_> = rows(50, 4).into_iter().map(scaled).collect();
    let file = formed.write(rows.clone()).await.unwrap();
    assert_eq!(plain.read(&file).await.unwrap(), rows);
    let keys = plain.read_keys(&file).await.unwrap();
    assert!(
        keys.iter()
            .map(|key| &key.path)
            .eq(rows.iter().map(|row| &row.path))
    );

    let stats: serde_json::Value = serde_json::from_str(&file.stats).unwrap();
    assert_eq!(stats["minValues"]["label"], rows[0].path);
    let bytes = plain.place.get(&file.name).await.unwrap();
    let batch = &from_parquet(bytes).unwrap()[0];
    let names: Vec<_> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(names[..2], ["label", "category"]);
    assert!(names.contains(&"scaledFeatures".to_owned()));
}

#[tokio::test]
async fn keys_are_read_without_the_features() {
    let (files, rows) = (files(), rows(1000, 512));
    let file = files.write(rows.clone()).await.unwrap();
    let keys = files.read_keys(&file).await.unwrap();
    let wanted: Vec<_> = rows
        .iter()
        .map(|row| KeyRow {
            path: row.path.clone(),
            etag: Some(row.etag.clone()),
            event_time_ms: row.event_time_ms,
            version: row.version.clone(),
        })
        .collect();
    assert_eq!(keys, wanted);
    let reductions = files.read_reductions(&file).await.unwrap();

    // Features destroyed, keys still there: they were not fetched.
    let mut bytes = files.place.get(&file.name).await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle - 1000..middle + 1000].fill(0xAA);
    files.place.put(&file.name, bytes.into()).await.unwrap();
    assert_eq!(files.read_keys(&file).await.unwrap(), wanted);
    assert_eq!(files.read_reductions(&file).await.unwrap(), reductions);
    let wanted = rows.into_iter().map(|row| Reduction {
        path: row.path,
        label: row.label,
        reduced: row.projection_version.zip(row.reduced_features),
    });
    assert!(reductions.into_iter().eq(wanted));
    assert!(matches!(
        files.read(&file).await,
        Err(DataFileError::Damaged { .. })
    ));
}

#[tokio::test]
async fn equal_rows_make_equal_bytes() {
    let (first, stats) = encode(&rows(500, 20), &Form::default()).unwrap();
    assert_eq!(
        encode(&rows(500, 20), &Form::default()).unwrap(),
        (first, stats)
    );
}

#[tokio::test]
async fn an_empty_file_and_empty_lists_are_fine() {
    let files = files();
    for rows in [vec![], rows(3, 0)] {
        let file = files.write(rows.clone()).await.unwrap();
        assert_eq!(files.read(&file).await.unwrap(), rows);
        assert_eq!(files.read_keys(&file).await.unwrap().len(), rows.len());
    }
}

#[tokio::test]
async fn truncated_and_foreign_files_are_named() {
    let files = files();
    let file = files.write(rows(10, 4)).await.unwrap();
    let bytes = files.place.get(&file.name).await.unwrap();
    files
        .place
        .put(&file.name, bytes.slice(..bytes.len() - 20))
        .await
        .unwrap();
    for error in [
        files.read(&file).await.unwrap_err().to_string(),
        files.read_keys(&file).await.unwrap_err().to_string(),
    ] {
        assert!(error.contains(&file.name), "{error}");
    }
    files.place.delete(&file.name).await.unwrap();
    let error = files.read_keys(&file).await.unwrap_err();
    let DataFileError::Storage(StorageError::NotFound { object }) = error else {
        panic!("{error}");
    };
    assert!(object.ends_with(&file.name));
}

#[test]
fn statistics_bound_the_keys() {
    let (_, stats) = encode(&rows(100, 2), &Form::default()).unwrap();
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["numRecords"], 100);
    assert_eq!(stats["nullCount"]["reduced_features"], 50);
    assert!(stats["minValues"]["path"].as_str().unwrap() <= "s3://landing/Apple 0/000000.jpg");
    assert!(
        stats["maxValues"]["event_time"]
            .as_str()
            .unwrap()
            .starts_with("2023-11-14T")
    );
}

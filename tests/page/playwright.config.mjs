// npm ci && EIGENFLOW=/path/of/eigenflow npm test
//
// The browser is the system's Chromium (CHROMIUM, or `chromium` on the path): none is downloaded.

import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from '@playwright/test';

const chromium = process.env.CHROMIUM ?? execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();

export default defineConfig({
  testMatch: '*.spec.mjs',
  workers: 1,
  timeout: 120_000,
  expect: { timeout: 60_000 },
  reporter: 'list',
  outputDir: join(tmpdir(), 'eigenflow-page-tests'),
  use: { launchOptions: { executablePath: chromium, args: ['--no-sandbox'] } },
});

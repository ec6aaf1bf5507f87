/** Tests of what Linux alone has, such as /proc; elsewhere they are skipped by name. */

import test from 'ava';

export const linux = process.platform === 'linux' ? test.serial : test.serial.skip;

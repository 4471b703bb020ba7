/**
 * A sound to send where the user does not want to speak: two soft notes that swell and fade,
 * so that the other side hears that the line is alive.
 */
export interface Tone {
  readonly stream: MediaStream;
  stop(): void;
}

/** Begins to play into a stream. To be called when the user has pressed something. */
export function startTone(): Tone {
  const context = new AudioContext();
  const out = context.createMediaStreamDestination();
  const swell = context.createGain();
  swell.gain.value = 0.05;
  swell.connect(out);
  const slow = context.createOscillator();
  const depth = context.createGain();
  slow.frequency.value = 0.5;
  depth.gain.value = 0.04;
  slow.connect(depth).connect(swell.gain);
  const notes = [392, 523.25].map((hertz) => {
    const note = context.createOscillator();
    note.frequency.value = hertz;
    note.connect(swell);
    return note;
  });
  for (const source of [slow, ...notes]) {
    source.start();
  }
  void context.resume();
  return { stream: out.stream, stop: () => void context.close() };
}

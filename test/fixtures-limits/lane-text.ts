export default function laneText(): string {
  return 'from the lane';
}
